"""
What train.py learns from is what was said, and what it does with it is what others do: ids and supervised tokens by the
`tokenizers` library, loss and gradients by transformers' GPT-2 on one conversation at a time, peft's merge of an
adapter, a conversation by heart in every format, and a stopped run that ends as the whole one to the bit.
"""

import dataclasses
import json
import random
import shutil

import pytest
import torch
from conftest import talk
from safetensors.torch import load_file
from test_train import assert_same_weights, state
from tokenizers import Tokenizer as OracleTokenizer
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from checkpoint import model_folder
from dataset.folder import open_meta, open_split
from dataset.loader import Loader
from dataset.prepare import PrepareConfig, prepare_folder
from inference.loading import open_engine
from inference.settings import EngineConfig
from train import train
from training import lora

EOS, SYSTEM, HUMAN, BOT, END = "<|endoftext|>", "[System]:", "[Human]:", "[Bot]:", "<|endofturn|>"
ODD = ["naïve café 🐆", "[Bot]: yes", "<|endoftext|>", "don't  stop", "日本語です", "a\n\nb", "1,234.50 €", "\tx"]


def conversations(n):
    """Talks with personas, bursts, names, messages of weight 0 and odd text, the same each time."""
    rng = random.Random(3)
    for i in range(n):
        messages = talk(rng.randint(1, 6), i)
        for message in messages:
            message["content"] += rng.choice(["", "", " " + rng.choice(ODD)])
        for message in rng.sample(messages, 1):
            message.update(rng.choice([{}, {"weight": 0}] if message["role"] == "assistant" else [{}, {"name": "Ann"}]))
        if i % 3 == 0:
            messages.insert(rng.randrange(1, len(messages)), {"role": "user", "content": f"and {rng.choice(ODD)}"})
        if i % 2:
            messages.insert(0, {"role": "system", "content": f"you like {rng.choice(ODD)}."})
        yield messages


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(folder, the conversations in it) of 61 conversations, none of them val."""
    folder = tmp_path_factory.mktemp("oracle")
    talks = list(conversations(61))
    about = {"name": "talks", "licence": "CC0", "url": "none"}
    settings = PrepareConfig(out_dir=str(folder), tokenizer="train:700", val_share=0)
    prepare_folder(settings, "", lambda settings, skipped: ({"messages": messages} for messages in talks), about)
    return folder, talks


def by_hand(messages, oracle):
    """(ids, supervised) of a conversation, turn by turn, by the tokenizers library."""
    ids, supervised = [oracle.token_to_id(EOS)], [0]
    tags = {"system": SYSTEM, "user": HUMAN, "assistant": BOT}
    i = 0
    while i < len(messages):
        role, name = messages[i]["role"], messages[i].get("name")
        ids.append(oracle.token_to_id(tags[role]))
        supervised.append(0)
        opening, learned = (f" {name}: " if name else " "), 0
        while i < len(messages) and (messages[i]["role"], messages[i].get("name")) == (role, name):
            learned = int(role == "assistant" and messages[i].get("weight", 1) == 1)
            words = oracle.encode(opening + messages[i]["content"].strip(), add_special_tokens=False).ids
            ids += words
            supervised += [learned] * len(words)
            opening, i = "\n", i + 1
        ids.append(oracle.token_to_id(END))
        supervised.append(learned)
    return ids, supervised


def plain_oracle(folder, tmp_path):
    """The folder's tokenizer.json in the tokenizers library, whose special tokens no text can make."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["added_tokens"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return OracleTokenizer.from_file(str(tmp_path / "tokenizer.json"))


def test_ids_and_supervised_tokens_are_those_made_by_hand(prepared, tmp_path):
    """Each of 61 conversations; together as many as meta.json says; and a packed batch has them as targets."""
    folder, talks = prepared
    meta, tokenizer = open_meta(folder)
    split = open_split(folder, "train", tokenizer)
    oracle = plain_oracle(folder, tmp_path)
    wanted = [by_hand(messages, oracle) for messages in talks]
    assert split.ids.tolist() == [token_id for ids, _ in wanted for token_id in ids]
    assert split.supervised.tolist() == [learned for _, supervised in wanted for learned in supervised]
    assert meta["splits"]["train"]["supervised"] == sum(sum(supervised) for _, supervised in wanted)
    rows = {tuple(ids[:-1]): [t if s else -1 for t, s in zip(ids[1:], sup[1:], strict=True)] for ids, sup in wanted}
    seen = 0
    for batch in Loader(split, 512, tokenizer).epoch(4):
        borders = batch.cu_seqlens.tolist()
        for start, end in zip(borders, borders[1:], strict=False):
            if start < batch.n_filled:
                assert batch.targets[0, start:end].tolist() == rows[tuple(batch.idx[0, start:end].tolist())]
                seen += 1
        assert (batch.targets[0, batch.n_filled :] == -1).all()
    assert seen == sum(any(supervised) for _, supervised in wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_and_gradients_are_those_of_conversations_alone(prepared, tmp_path, dtype):
    """transformers' GPT-2, which sees one conversation at a time, has the loss of a packed batch and its gradients."""
    folder, _ = prepared
    _, tokenizer = open_meta(folder)
    torch.manual_seed(0)
    shape = dict(n_layer=2, n_head=2, n_embd=32, n_positions=512, vocab_size=tokenizer.n_vocab)
    shape |= dict(embd_pdrop=0, attn_pdrop=0, resid_pdrop=0, initializer_range=0.1)
    theirs = GPT2LMHeadModel(GPT2Config(**shape))
    theirs.save_pretrained(tmp_path)
    shutil.copy(folder / "tokenizer.json", tmp_path)
    ours = model_folder.load(tmp_path).model.train()
    ours.transformer.wte.sparse = False
    batch = Loader(open_split(folder, "train", tokenizer), 512, tokenizer).get_batch(4)
    tensors = {name: torch.from_numpy(array) for name, array in batch.arrays.items()}
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        loss = ours.loss(**tensors)
    loss.backward()
    total, borders = 0.0, batch.cu_seqlens.tolist()
    for start, end in zip(borders, borders[1:], strict=False):
        ids, targets = tensors["idx"][:, start:end], tensors["targets"][:, start:end]
        if (targets >= 0).any():
            logits = theirs(ids).logits
            part = torch.nn.functional.cross_entropy(logits[0], targets[0], ignore_index=-1, reduction="sum")
            (part / batch.n_supervised).backward()
            total += part.item() / batch.n_supervised
    assert loss.item() == pytest.approx(total, abs=1e-5 if dtype == "float32" else 0.02)
    for name, p in theirs.named_parameters():
        other = dict(ours.named_parameters())[name].grad
        other = other[: len(p)] if "wte" in name else other
        other = other.t() if other.shape != p.shape or name.endswith(("c_attn.weight", "c_proj.weight")) else other
        if dtype == "float32":
            torch.testing.assert_close(other, p.grad, atol=1e-6, rtol=1e-3, msg=name)
        elif not name.endswith("c_attn.bias"):  # that of the keys has no gradient but rounding
            assert torch.cosine_similarity(other.float().flatten(), p.grad.flatten(), dim=0) > 0.999, name


@pytest.fixture
def base(tmp_path, data_dir, tokens):
    """A random GPT-2 folder with the data's tokenizer."""
    torch.manual_seed(0)
    shape = dict(n_layer=2, n_head=2, n_embd=32, n_positions=64, vocab_size=open_meta(data_dir)[1].n_vocab)
    GPT2LMHeadModel(GPT2Config(**shape)).save_pretrained(tmp_path / "base")
    shutil.copy(data_dir / "tokenizer.json", tmp_path / "base")
    return tmp_path / "base"


def test_an_adapter_lies_beside_the_merged_model(settings, base, tmp_path):
    """base + alpha / r * (B A)^T is the merged model, also of a resumed run, whose base is the one it began from."""
    how = settings(init_from=str(base), lora_rank=3, max_iters=3, weight_decay=0.0)
    train(how)
    train(dataclasses.replace(how, init_from="resume", max_iters=6))
    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base) and config["fan_in_fan_out"]
    adapter = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    plain, merged = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    changed = [name.removesuffix(".lora_A.weight") for name in adapter if name.endswith("lora_A.weight")]
    assert len(changed) == 8 and {name.rpartition(".")[2] for name in changed} == set(config["target_modules"])
    for name in changed:
        a, b = (adapter[f"{name}.lora_{kind}.weight"] for kind in "AB")
        key = f"{name.removeprefix('base_model.model.')}.weight"
        assert a.shape[0] == config["r"] == 3 and b.abs().sum() > 0
        wanted = plain[key] + config["lora_alpha"] / config["r"] * (b @ a).t()
        torch.testing.assert_close(merged[key], wanted, atol=1e-6, rtol=1e-5)


def test_peft_merges_an_adapter_as_we_do(settings, base, tmp_path):
    """peft's merge_and_unload of the adapter gives the logits of the folder."""
    peft = pytest.importorskip("peft")
    train(settings(init_from=str(base), lora_rank=3, max_iters=6, learning_rate=0.05))
    theirs = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "out" / "adapter")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    idx = torch.arange(40)[None]
    with torch.no_grad():
        before = AutoModelForCausalLM.from_pretrained(base).eval()(idx).logits
        torch.testing.assert_close(theirs.merge_and_unload().eval()(idx).logits, ours(idx).logits, atol=1e-5, rtol=0)
    assert (before - ours(idx).logits).abs().max() > 1e-2


@pytest.mark.parametrize("start", ["an adapter", "the folder that is written"])
def test_an_adapter_names_no_base_that_is_none(settings, base, tmp_path, capsys, start):
    """What was trained from an adapter, or replaces what it began from, is merged alone, and that is said."""
    train(settings(init_from=str(base), lora_rank=2, max_iters=2, out_dir=str(tmp_path / "first")))
    again = dict(init_from=str(tmp_path / "first" / "adapter")) if start == "an adapter" else dict(init_from=str(base))
    out = tmp_path / "second" if start == "an adapter" else base
    capsys.readouterr()
    for how in (again, dict(init_from="resume")):
        train(settings(**how, lora_rank=2, max_iters=2 + 2 * (how != again), out_dir=str(out), overwrite=True))
        assert "is merged, and not kept apart" in capsys.readouterr().out
        assert not (out / "adapter").exists()
    model_folder.load(out)


def test_a_run_without_lora_has_no_adapter(settings, tmp_path):
    train(settings(max_iters=1, lora_rank=0))
    assert not (tmp_path / "out" / "adapter").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [dict(dtype="float32"), dict(dtype="bfloat16"), dict(learn="all"), dict(learn="last")], ids=str
)
def test_one_conversation_by_heart(tmp_path, settings, dialogue, how):
    """Learned in either dtype, it is said to the letter and ended, from weights of every format."""
    data = PrepareConfig(out_dir=str(tmp_path / "data"), tokenizer="train:300", val_share=0.0)
    about = {"name": "one", "licence": "none", "url": "none"}
    prepare_folder(data, "", lambda *_: [{"messages": dialogue}], about)
    shape = dict(n_layer=2, n_embd=64, block_size=128, batch_size=1, weight_decay=0.0, data_dir=str(tmp_path / "data"))
    train(settings(**shape, **how, learning_rate=3e-3, warmup_iters=10, max_iters=200, eval_interval=100))
    asked = [4] if how == {"learn": "last"} else [2, 4]
    for weights in ("full", "int8", "int4"):
        config = EngineConfig(out_dir=str(tmp_path / "out"), weights=weights, temperature=0.0, repetition_penalty=1.0)
        engine, _ = open_engine(dataclasses.replace(config, device="cpu", threads=1))
        for i in asked:
            *pieces, last = engine.reply(dialogue[:i], config)
            assert "".join(piece.text for piece in [*pieces, last]) == dialogue[i]["content"], weights
            assert last.reason.value == "end_of_turn"


VARIANTS = [
    dict(dtype="bfloat16"),
    dict(dropout=0.2),
    dict(muon=True),
    dict(lora_rank=2),
    dict(unlikelihood=0.5, gradient_checkpointing=True),
    dict(gradient_accumulation_steps=3),
    dict(freeze_layers=1, n_layer=2),
    dict(batch_size="auto"),
    dict(learn="last", epochs=16.0),
]


@pytest.mark.slow
@pytest.mark.parametrize("how", VARIANTS, ids=str)
def test_every_kind_of_run_resumes_to_the_bit(settings, tmp_path, how):
    """Stopped at half of its steps and resumed, its weights and moments are those of the run in one go."""
    n = 16
    whole = settings(**{"max_iters": n, "eval_interval": 4, **how, "out_dir": str(tmp_path / "whole")})
    train(whole)
    n = state(tmp_path / "whole")["progress"]["iter_num"]
    half = dataclasses.replace(whole, out_dir=str(tmp_path / "half"), keep=9)
    train(half)  # whose checkpoint of the middle is as a kill leaves it
    middle = sorted(int(path.name.partition("-")[2]) for path in (tmp_path / "half").glob("checkpoint-*"))[0]
    assert 0 < middle < n
    out = str(tmp_path / "half" / f"checkpoint-{middle}")
    train(dataclasses.replace(whole, out_dir=out, init_from="resume"))
    a, b = state(tmp_path / "whole"), state(out)
    assert b["progress"]["iter_num"] == n and a["rows_drawn"] == b["rows_drawn"]
    assert_same_weights(a, b)
    for kind in ("m", "v", "moving"):
        assert all(torch.equal(moment, b["optimizer"][kind][name]) for name, moment in a["optimizer"][kind].items())


@pytest.mark.slow
def test_what_was_trained_from_a_foreign_folder_reads_back(settings, base, tmp_path):
    """transformers computes from the folder that train.py writes what the trained model computes here."""
    for how in (dict(), dict(lora_rank=2), dict(freeze_layers=1), dict(muon=True), dict(dtype="bfloat16")):
        train(settings(init_from=str(base), overwrite=True, max_iters=8, **how))
        theirs, ours = (
            AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval(),
            model_folder.load(tmp_path / "out"),
        )
        idx = torch.arange(40)[None]
        with torch.no_grad():
            torch.testing.assert_close(ours.model(idx), theirs.eval()(idx).logits, atol=1e-5, rtol=0)
        assert lora.merged_parameters(ours.model).keys() == dict(ours.model.named_parameters()).keys()

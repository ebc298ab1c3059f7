"""
What other programs leave in folders: each loads with transformers' logits, ids, prompts and greedy text, or is refused
in a line that names what it is.
"""

import json
import pickle
import shutil

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2DoubleHeadsModel,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
)

from checkpoint import model_folder
from checkpoint.pretrained import SYNONYMS, TRANSPOSED_WEIGHTS
from inference.loading import open_engine
from inference.settings import EngineConfig, SamplingParams
from model import ACTIVATIONS
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers
from tokenization.chat_template import FolderTemplate, document
from tokenization.foreign_tokenizer import GPT2_PATTERNS

TEXTS = [
    "hello there, how are you?",
    "  naïve café 🐆\n\n the end",
    "the theme of <new> words, the_end",
    "a<new>b  <new>  c<mid>d",
]
CHAT = [("user", "hi there"), ("assistant", "hello!"), ("user", "how are you?\nfine?")]
CHAT = [{"role": role, "content": text} for role, text in CHAT]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=12)
FLAGS = {"special": True, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE of 400 tokens, the content of its tokenizer.json with <|endoftext|> as its last."""
    content = tokenizers.train([" ".join(TEXTS), (ROOT / "LICENSE").read_text(encoding="utf-8")], 404).to_json()
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] == "<|endoftext|>"]
    for tag in ("[System]:", "[Human]:", "[Bot]:", "<|endofturn|>"):
        del content["model"]["vocab"][tag]
    assert content["added_tokens"][0]["id"] == 399 == max(content["model"]["vocab"].values())
    return content


class Folder:
    """A folder in the making: a random GPT-2 as transformers saves it, with a tokenizer."""

    def __init__(self, path, bpe):
        self.path, self.bpe = path, json.loads(json.dumps(bpe))
        self.model = self.fresh()
        self.tokenizer()
        self.oracle = None  # the model to compare with; None: what transformers loads

    def fresh(self, kind=GPT2LMHeadModel, **config):
        torch.manual_seed(0)
        shape = dict(n_layer=1, n_head=2, n_embd=16, n_positions=64, vocab_size=400, initializer_range=0.5)
        ends = dict(bos_token_id=399, eos_token_id=399)
        shutil.rmtree(self.path, ignore_errors=True)
        model = kind(GPT2Config(**{**shape, **ends, **config})).eval()
        model.save_pretrained(self.path)
        return model

    def tokenizer(self, *added, template=None, **config):
        """added: (text, id, flags that differ)."""
        tokens = [{"id": token_id, "content": text, **FLAGS, **flags} for text, token_id, flags in added]
        self.write("tokenizer.json", {**self.bpe, "added_tokens": [*self.bpe["added_tokens"], *tokens]})
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", **config}
        self.write("tokenizer_config.json", config | ({} if template is None else {"chat_template": template}))

    def write(self, name, content):
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        (self.path / name).write_text(text, encoding="utf-8")

    def without(self, *names):
        for name in names:
            (self.path / name).unlink()

    def config(self, name="config.json", without=(), **changes):
        content = json.loads((self.path / name).read_text()) | changes
        self.write(name, {key: value for key, value in content.items() if key not in without})

    def state(self):
        return load_file(self.path / "model.safetensors")

    def store(self, state, name="model.safetensors"):
        (self.path / "model.safetensors").unlink(missing_ok=True)
        if name.endswith(".bin"):
            torch.save(state, self.path / name)
        else:
            save_file({key: p.contiguous().clone() for key, p in state.items()}, self.path / name, {"format": "pt"})

    def old_tokenizer(self, merges=True, **files):
        """vocab.json and merges.txt in place of tokenizer.json."""
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (self.path / name).unlink()
        self.write("vocab.json", self.bpe["model"]["vocab"])
        lines = (" ".join(merge.split(" ")) for merge in self.bpe["model"]["merges"])
        self.write("merges.txt", "#version: 0.2\n" + "\n".join(lines) + "\n")
        for name, content in files.items():
            self.write(f"{name}.json", content)

    def adapter(self, state=None, name="adapter_model.safetensors", **config):
        """A LoRA adapter of this model in a folder of its own, and what it makes of the weights by hand."""
        base, self.path = self.path, self.path.parent / "adapter"
        self.path.mkdir()
        layer, rank = "transformer.h.0.attn.c_attn", 4
        a, b = torch.randn(rank, 16), torch.randn(48, rank)
        pair = {f"base_model.model.{layer}.lora_A.weight": a, f"base_model.model.{layer}.lora_B.weight": b}
        self.store({**pair, **(state or {})}, name)
        usual = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "base_model_name_or_path": str(base)}
        self.write("adapter_config.json", {**usual, **config})
        alpha = config.get("alpha_pattern", {}).get("c_attn", usual["lora_alpha"])
        scale = alpha / (2 if config.get("use_rslora") else rank)
        with torch.no_grad():
            self.model.get_parameter(f"{layer}.weight").add_(scale * (b @ a).T)
            for key, tensor in (state or {}).items():
                self.model.get_parameter(key.removeprefix("base_model.model.")).copy_(tensor)
        self.oracle = self.model

    def nanogpt(self, prefix="", bias=True, vocab=400, **more):
        """The same model as nanoGPT's ckpt.pt."""
        state = {
            prefix + name: p.t() if name.endswith(TRANSPOSED_WEIGHTS) else p
            for name, p in self.model.state_dict().items()
            if bias or not name.endswith("bias")
        }
        if not bias:
            with torch.no_grad():
                for name, p in self.model.named_parameters():
                    if name.endswith("bias"):
                        p.zero_()
        self.oracle = self.model
        shutil.rmtree(self.path)
        self.path.mkdir()
        args = dict(n_layer=1, n_head=2, n_embd=16, block_size=64, bias=bias, vocab_size=vocab, dropout=0.0)
        torch.save({"model": state, "model_args": args, "config": {"dataset": "chars"}, **more}, self.path / "ckpt.pt")

    def characters(self, letters):
        """A character model of nanoGPT, with its meta.pkl."""
        self.model = self.fresh(vocab_size=len(letters))
        self.nanogpt(vocab=len(letters))
        ids = {letter: i for i, letter in enumerate(letters)}
        meta = {"vocab_size": len(letters), "itos": {i: letter for letter, i in ids.items()}, "stoi": ids}
        (self.path / "meta.pkl").write_bytes(pickle.dumps(meta))


LETTERS = "\n !,.?" + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


# weights and their shapes


def names_without_prefix(f):
    f.store({name.removeprefix("transformer."): p for name, p in f.state().items()})


def a_copy_of_the_head(f):
    f.store({**f.state(), "lm_head.weight": f.state()["transformer.wte.weight"]})


def head_in_place_of_the_embedding(f, name="model.safetensors"):
    """As safetensors' save_model leaves it."""
    state = f.state()
    state["lm_head.weight"] = state.pop("transformer.wte.weight")
    f.store(state, name)
    f.oracle = f.model


def shards_of_bin(f):
    state = f.state()
    files = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(state)}
    for file in set(files.values()):
        f.store({name: p for name, p in state.items() if files[name] == file}, file)
    f.write("pytorch_model.bin.index.json", {"metadata": {}, "weight_map": files})


def in_dtype(dtype):
    return lambda f: f.store({name: p.to(dtype) for name, p in f.state().items()})


def wrapped(f):
    f.store({"module." + name: p for name, p in f.state().items()}, "pytorch_model.bin")
    f.oracle = f.model


def masks_too(f):
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64), "transformer.h.0.attn.masked_bias": torch.ones(1)}
    f.store({**f.state(), **masks}, "pytorch_model.bin")


def other_names_for_the_shape(f):
    f.config(without=("n_embd", "n_layer", "n_head", "n_positions"), hidden_size=16, num_hidden_layers=1)
    f.config(num_attention_heads=2, max_position_embeddings=64)


def hardly_a_config(f):
    f.model = f.fresh(n_layer=12, n_head=12, n_embd=24, n_positions=1024)
    f.tokenizer()
    f.write("config.json", {"model_type": "gpt2", "n_embd": 24, "vocab_size": 400, "eos_token_id": 399})


def another_class(kind, **config):
    def change(f):
        f.fresh(kind, **config)
        f.tokenizer()

    return change


def untied_in_name_only(f):
    a_copy_of_the_head(f)
    f.config(tie_word_embeddings=False)


def padded_rows(f):
    f.model = f.fresh(vocab_size=448)
    f.tokenizer()


def byte_order_marks(f):
    for name in ("config.json", "tokenizer.json"):
        (f.path / name).write_bytes(b"\xef\xbb\xbf" + (f.path / name).read_bytes())
    f.oracle = f.model


def resized_adapter(f):
    rows = torch.randn(402, 16)
    names = ("base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight")
    f.model.resize_token_embeddings(402, mean_resizing=False)
    f.adapter(dict.fromkeys(names, rows))


# tokenizers


def rows(n, *added, **config):
    """n rows, and added tokens."""

    def change(f):
        f.model = f.fresh(vocab_size=n)
        f.tokenizer(*added, **config)

    return change


def old(n=400, **files):
    def change(f):
        f.model = f.fresh(vocab_size=n)
        f.tokenizer()
        f.old_tokenizer(**files)

    return change


def without_specials(f):
    """As ByteLevelBPETokenizer's tutorial leaves it: <s> and the like come first, and nothing names them."""
    vocab = {token: i + 2 for token, i in f.bpe["model"]["vocab"].items() if token != "<|endoftext|>"}
    f.bpe["model"]["vocab"] = {"<s>": 0, "</s>": 1, **vocab}
    f.model = f.fresh(vocab_size=401, bos_token_id=0, eos_token_id=1)
    f.tokenizer()
    f.old_tokenizer()


def bytes_missing(f):
    for letter in ("Ċ", "ð", "Ł"):
        f.bpe["model"]["vocab"].pop(letter, None)
    f.bpe["model"]["merges"] = [m for m in f.bpe["model"]["merges"] if not set("ĊðŁ") & set(m)]
    f.bpe["model"]["vocab"] = {t: i for t, i in f.bpe["model"]["vocab"].items() if not set("ĊðŁ") & set(t)}
    f.tokenizer()


def another_opening(f):
    f.bpe["added_tokens"].clear()
    del f.bpe["model"]["vocab"]["<|endoftext|>"]
    f.tokenizer(("<s>", 399, {}), eos_token="<s>", bos_token="<s>")


def ids_of_no_token(f):
    f.bpe["model"]["vocab"]["<|endoftext|>"] = f.bpe["added_tokens"][0]["id"] = 409
    f.model = f.fresh(vocab_size=410, bos_token_id=409, eos_token_id=409)
    f.tokenizer()


def pattern_written_out(f):
    pattern = {"Regex": GPT2_PATTERNS[0]}
    parts = [{"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}]
    parts += [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    f.bpe["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts}
    f.tokenizer()


NEW = ("<new>", 400, {"special": False})
MID = ("<mid>", 401, {})
LOADS = {
    "as transformers saves it": lambda f: None,
    "names without a prefix": names_without_prefix,
    "a copy of the head": a_copy_of_the_head,
    "the head in place of the embedding": head_in_place_of_the_embedding,
    "the same, pickled": lambda f: head_in_place_of_the_embedding(f, "pytorch_model.bin"),
    "pytorch_model.bin": lambda f: f.store(f.state(), "pytorch_model.bin"),
    "shards": lambda f: (f.model.save_pretrained(f.path, max_shard_size="20kB"), f.path.joinpath("x").touch()),
    "shards of pytorch_model.bin": shards_of_bin,
    "float16": in_dtype(torch.float16),
    "bfloat16": in_dtype(torch.bfloat16),
    "float64": in_dtype(torch.float64),
    "DataParallel's names": wrapped,
    "causal masks among the weights": masks_too,
    **{name: lambda f, name=name: f.config(activation_function=name) for name in (*ACTIVATIONS, *SYNONYMS)},
    "other names for the shape": other_names_for_the_shape,
    "a config that leaves all to its defaults": hardly_a_config,
    "n_inner said": lambda f: f.config(n_inner=64),
    "a narrower n_inner": another_class(GPT2LMHeadModel, n_inner=40),
    "a wider n_inner": another_class(GPT2LMHeadModel, n_inner=96, activation_function="relu"),
    "cross attention": another_class(GPT2LMHeadModel, add_cross_attention=True),
    "two heads": another_class(GPT2DoubleHeadsModel),
    "a classifier": another_class(GPT2ForSequenceClassification, pad_token_id=399),
    "untied in name only": untied_in_name_only,
    "padded rows": padded_rows,
    "byte order marks": byte_order_marks,
    "an adapter": lambda f: f.adapter(),
    "an adapter, pickled, with rslora": lambda f: f.adapter(name="adapter_model.bin", use_rslora=True),
    "an adapter with its own alphas": lambda f: f.adapter(alpha_pattern={"c_attn": 3, "c_proj": 2}),
    "an adapter beside its base, from another machine": lambda f: f.adapter(base_model_name_or_path="/home/a/model"),
    "an adapter with a norm": lambda f: f.adapter({"base_model.model.transformer.ln_f.weight": torch.randn(16)}),
    "an adapter with new tokens": resized_adapter,
    "nanoGPT": lambda f: (f.nanogpt(), f.tokenizer()),
    "nanoGPT, compiled, without biases": lambda f: (f.nanogpt("_orig_mod.", bias=False), f.tokenizer()),
    "nanoGPT's characters": lambda f: f.characters(LETTERS),
    "nanoGPT's characters, not ASCII": lambda f: f.characters(LETTERS + "éï日本🐆"),
    "vocab.json and merges.txt": old(),
    "vocab.json without specials": without_specials,
    "added_tokens.json": old(402, added_tokens={"<new>": 400, "<mid>": 401}),
    "special_tokens_map.json": old(401, special_tokens_map={"pad_token": "<new>", "eos_token": "<|endoftext|>"}),
    "added words": rows(402, NEW, MID),
    "added words that take spaces": rows(402, ("<new>", 400, {"special": False, "lstrip": True, "rstrip": True})),
    "added words that stand alone": rows(402, ("the", 400, {"special": False, "single_word": True})),
    "added_tokens_decoder": rows(402, added_tokens_decoder={"400": {"content": "<new>", **FLAGS, "special": False}}),
    "no <|endoftext|>": another_opening,
    "bytes that have no token": bytes_missing,
    "the pattern written out": pattern_written_out,
    "ids of no token": ids_of_no_token,
    "more tokens than rows": rows(400, ("[PAD]", 400, {}), pad_token="[PAD]"),
    "a list of ends": lambda f: f.config("generation_config.json", eos_token_id=[399, 5]),
    "no ends": lambda f: (f.config(eos_token_id=None), f.config("generation_config.json", eos_token_id=None)),
    "ChatML": rows(402, ("<|im_start|>", 400, {}), ("<|im_end|>", 401, {}), template=CHATML),
    "a template in a file": lambda f: f.write("chat_template.jinja", CHATML),
    "a list of templates": rows(400, template=[{"name": "default", "template": CHATML}, {"name": "b", "template": ""}]),
    "a template for training": rows(400, template="{% generation %}{{ messages[0].content }}{% endgeneration %} ok"),
}


@pytest.fixture
def made(tmp_path, bpe):
    return Folder(tmp_path / "model", bpe)


@pytest.mark.parametrize("name", LOADS)
@torch.no_grad()
def test_a_folder_loads_as_it_does_in_transformers(made, name):
    """Logits to 1e-4, the ids of texts, prompts, and the text that follows greedily, special tokens hidden."""
    LOADS[name](made)
    folder = made.path
    oracle = made.oracle or AutoModelForCausalLM.from_pretrained(folder).eval()
    model, tokenizer, _ = model_folder.load(folder)
    n = min(tokenizer.n_base_vocab, oracle.config.vocab_size)
    idx = torch.randint(n, (2, 20), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(idx)[..., :n], oracle(idx).logits[..., :n].float(), atol=1e-4, rtol=0)

    theirs = None
    if (folder / "tokenizer_config.json").exists() and not made.oracle or (folder / "vocab.json").exists():
        theirs = AutoTokenizer.from_pretrained(folder)
        for text in TEXTS:
            asked = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            assert tokenizer.encode(text) == asked, text
    engine, _ = open_engine(EngineConfig(init_from=str(folder), weights="full"))
    ids = document(engine.template, TEXTS[0])
    untrained = [i for i in range(oracle.config.vocab_size) if i >= n or i not in tokenizer.bytes]
    oracle.generation_config.suppress_tokens = untrained or None
    asked = torch.tensor([ids])
    sampling = dict(attention_mask=torch.ones_like(asked), do_sample=False, max_new_tokens=12, pad_token_id=0)
    follow = oracle.generate(asked, **sampling)[0, len(ids) :]
    ends = [i for i, token in enumerate(follow.tolist()) if token in engine.template.document_stop_ids]
    follow = follow[: ends[0]] if ends else follow
    text = theirs.decode(follow, skip_special_tokens=True) if theirs else tokenizer.decode(follow.tolist())
    assert "".join(piece.text for _, piece in engine.continuations([TEXTS[0]], GREEDY)) == text

    if isinstance(engine.template, FolderTemplate):
        for chat in (CHAT[:1], CHAT):
            asked = theirs.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
            assert engine.template.prompt(chat) == asked


@pytest.mark.parametrize("activation", ACTIVATIONS)
@torch.no_grad()
def test_other_mlps_stay_what_they_are(made, tmp_path, activation):
    """In 8 bits, which the kernels leave to torch unless the MLPs are GPT-2's; and saved by us, in transformers."""
    theirs = made.fresh(n_embd=32, n_inner=96, activation_function=activation, initializer_range=0.2)
    made.tokenizer()
    idx = torch.randint(390, (1, 20), generator=torch.Generator().manual_seed(0))
    wanted = theirs(idx).logits[..., :400]
    engine, _ = open_engine(EngineConfig(init_from=str(made.path), weights="int8", device="cpu"))
    assert engine.runner.decoder is None
    error = engine.model(idx)[..., :400] - wanted
    assert error.abs().mean() < 0.02 * wanted.abs().mean()
    loaded = model_folder.load(made.path)
    model_folder.save(tmp_path / "saved", *loaded)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(saved(idx).logits[..., :400], wanted, atol=1e-4, rtol=0)
    assert loaded.model.num_params() == sum(p.numel() for p in saved.parameters())


# what is not a model that can be read here


def instead(*files, config=False):
    """A folder of these files alone; with config, a config.json too."""

    def change(f):
        for path in f.path.iterdir():
            if not (config and path.name == "config.json"):
                path.unlink()
        for name in files:
            (f.path / name).parent.mkdir(parents=True, exist_ok=True)
            (f.path / name).write_bytes(b"x")

    return change


def weight(value, name="transformer.h.0.mlp.c_fc.weight"):
    def change(f):
        state = f.state()
        state[name][0, 0] = value
        f.store(state)

    return change


def own_head(**config):
    def change(f):
        f.store({**f.state(), "lm_head.weight": f.state()["transformer.wte.weight"] + 0.1})
        f.config(**config)

    return change


def a_checkpoint_within(f):
    for step in (90, 500):
        shutil.copytree(f.path, f.path.parent / "run" / f"checkpoint-{step}")
    f.path = f.path.parent / "run"


def tokenizer_json(**changes):
    def change(f):
        for name, value in changes.items():
            f.bpe[name] = value
        f.tokenizer()

    return change


def bert(f):
    (f.path / "tokenizer.json").unlink()
    f.write("vocab.txt", "[PAD]\n[UNK]\nhello\n")


def poisoned_meta(f):
    f.characters(LETTERS)
    (f.path / "meta.pkl").write_bytes(b"cos\nmkdir\n(V" + str(f.path / "executed").encode() + b"\ntR.")


def a_broken_index(f):
    f.without("model.safetensors")
    f.write("model.safetensors.index.json", "{}")


def adapter_of(layer, n_in, n_out, rank=2):
    def change(f):
        f.adapter()
        pair = {f"{layer}.lora_A.weight": torch.ones(rank, n_in), f"{layer}.lora_B.weight": torch.ones(n_out, rank)}
        f.store(pair, "adapter_model.safetensors")

    return change


def of_another_base(f):
    f.adapter(base_model_name_or_path="my-lost-model")


def dropped_base(f):
    f.adapter(base_model_name_or_path=None)


IS_NOT = {
    "nothing": (instead(), "has no model .*train.py"),
    "GGUF": (instead("model.Q4_K_M.gguf"), "but a GGUF file .model.Q4_K_M.gguf.: say"),
    "TensorFlow": (instead("tf_model.h5", config=True), "is a TensorFlow model"),
    "a TensorFlow checkpoint": (instead("model.ckpt.index", "model.ckpt.meta"), "is a TensorFlow checkpoint"),
    "Flax": (instead("flax_model.msgpack", config=True), "is a Flax model"),
    "ONNX": (instead("model.onnx", config=True), "is an ONNX model"),
    "DeepSpeed": (instead("zero_to_fp32.py", config=True), "DeepSpeed"),
    "a variant": (instead("model.fp16.safetensors", config=True), "rename it to model.safetensors"),
    "weights alone": (lambda f: f.without("config.json"), "config.json, which says their shape, is missing"),
    "a config alone": (instead(config=True), "no weights"),
    "a tokenizer alone": (lambda f: f.without("config.json", "model.safetensors"), "tokenizer, but no model"),
    "data": (instead("train.bin", "meta.json"), "folder of data: train on it with --data_dir="),
    "a run that saved no model": (instead("trainer.pt"), "--init_from=resume"),
    "the folder above checkpoints": (a_checkpoint_within, "no model itself, checkpoint-500, checkpoint-90 in it: say"),
    "a pointer": (lambda f: f.write("model.safetensors", "version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
    "a broken index": (a_broken_index, "weight_map"),
    "a head of its own": (own_head(), "output head .lm_head. is not its embedding"),
    "a head of its own, said": (own_head(tie_word_embeddings=False), "output head"),
    "no head": (lambda f: f.config(tie_word_embeddings=False), "the weights have no lm_head"),
    "NaN": (weight(float("nan")), "c_fc.weight holds numbers that are NaN"),
    "infinity": (weight(float("-inf"), "transformer.wte.weight"), "wte.weight holds numbers that are NaN or inf"),
    "whole numbers": (lambda f: f.store({k: p.to(torch.int8) for k, p in f.state().items()}), "stored as torch.int8"),
    "quantized": (lambda f: f.config(quantization_config={"quant_method": "gptq"}), "quantized"),
    "another model": (lambda f: f.config(model_type="gpt_neo"), "model_type is 'gpt_neo'"),
    "another function": (lambda f: f.config(activation_function="quick_gelu"), "'quick_gelu'; those known are gelu_"),
    "no function": (lambda f: f.config(activation_function=["relu"]), "is .'relu'.; those known are gelu_"),
    "no number": (lambda f: f.config(n_inner="64"), "config.json is not a GPT-2's .*'64'"),
    "n_inner of another model": (lambda f: f.config(n_inner=40), "c_fc.weight is .64, 16., its config says .40, 16."),
    "another epsilon": (lambda f: f.config(layer_norm_epsilon=1e-3), "layer_norm_epsilon"),
    "another scale": (lambda f: f.config(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse"),
    "BERT's tokenizer": (bert, "WordPiece tokenizer, BERT's .vocab.txt"),
    "WordPiece": (tokenizer_json(model={"type": "WordPiece", "vocab": {}}), "it is a WordPiece"),
    "a space before": (tokenizer_json(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True}), "a space before"),
    "another normalizer": (tokenizer_json(normalizer={"type": "Lowercase"}), "splits text in another way"),
    "another tokenizer's rows": (rows(300), "300 tokens, its tokenizer bpe-404 404"),
    "two tokens of one id": (rows(402, ("<new>", 398, {})), "two tokens have the same id"),
    "a million million layers": (lambda f: f.config(n_layer=10**12), "the weights lack transformer.h.999999999999"),
    "numbers in place of weights": (lambda f: f.store(dict.fromkeys(f.state(), 1), "pytorch_model.bin"), "lack"),
    "an id far away": (rows(400, ("<new>", 2**30, {})), "not the same vocabulary"),
    "an adapter without its base": (of_another_base, "LoRA adapter of my-lost-model"),
    "an adapter of nothing": (dropped_base, "names no base model"),
    "another adapter": (lambda f: f.adapter(peft_type="IA3"), "kind 'IA3'"),
    "DoRA": (lambda f: f.adapter(use_dora=True), "use_dora"),
    "an adapter of another shape": (adapter_of("h.0.attn.c_attn", 9, 48), "not its own"),
    "an adapter of no rank": (adapter_of("h.0.attn.c_attn", 16, 48, rank=0), "are empty"),
    "an adapter of the head": (adapter_of("lm_head", 16, 400), "lm_head.lora_A.weight cannot be merged"),
    "an adapter without weights": (lambda f: (f.adapter(), f.without("adapter_model.safetensors")), "no adapter_model"),
    "characters alone": (lambda f: (f.characters(LETTERS), f.without("meta.pkl")), "needs its meta.pkl"),
    "a poisoned meta.pkl": (poisoned_meta, "refused.*os.mkdir|refused.*posix.mkdir"),
}  # fmt: skip


@pytest.mark.parametrize("name", IS_NOT)
def test_what_is_no_gpt2_is_named(made, name):
    """One line says what the folder is, and nothing in it is executed."""
    change, match = IS_NOT[name]
    change(made)
    with pytest.raises(InputError, match=match) as error:
        model_folder.load(made.path)
    assert "\n" not in str(error.value) and str(made.path) in str(error.value)
    assert not (made.path / "executed").exists()


@pytest.mark.parametrize("name", ["model.gguf", "tf_model.h5", "model.safetensors", "pytorch_model.bin"])
def test_a_file_is_named(tmp_path, name):
    """A file in place of a folder is named, or its folder."""
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match="what can be read here is a folder|say its folder|not a whole GGUF"):
        model_folder.load(tmp_path / name)


# what such a folder says, and what it never says


@pytest.mark.parametrize("where", ["config.json", "generation_config.json", "tokenizer_config.json", "all"])
def test_the_end_tokens_are_those_of_all_files(made, where):
    """eos_token_id as a number or a list, and eos_token: any of them ends, wherever it is said."""
    made.model = made.fresh(vocab_size=402)
    made.tokenizer(("<|im_start|>", 400, {}), ("<|im_end|>", 401, {}), template=CHATML)
    expected = {399, 401}
    if where in ("config.json", "generation_config.json"):
        made.config(where, eos_token_id=401)
    elif where == "all":
        made.config(eos_token_id=[7, True, "x", 10**6, -1])
        made.config("generation_config.json", eos_token_id=[8, 399])
        made.config("tokenizer_config.json", eos_token={"content": "<|im_end|>", "lstrip": False})
        expected |= {7, 8}
    else:
        made.config(where, eos_token="<|im_end|>")
    engine, _ = open_engine(EngineConfig(init_from=str(made.path), weights="full"))
    assert set(engine.template.stop_token_ids) == set(engine.template.document_stop_ids) == expected


def test_no_token_is_drawn_that_the_model_was_not_taught(made):
    """Ids of no token, of no row, and our own tags: with the flattest sampling none comes in 3,000 draws."""
    ids_of_no_token(made)
    engine, _ = open_engine(EngineConfig(init_from=str(made.path), weights="full"))
    flat = dict(temperature=1e3, top_p=1.0, repetition_penalty=1.0, max_new_tokens=60)
    drawn = [t.id for seed in range(50) for t in engine.generate([409], SamplingParams(**flat, seed=seed))]
    assert len(drawn) > 2000 and set(drawn) <= set(range(399)) | {409, None}


def test_special_tokens_are_not_shown(made):
    """A special token that the model says is not printed; a word that was added is."""
    rows(402, NEW, MID)(made)
    decode = tokenizers.load(made.path).decoder()
    assert [decode(token) for token in (400, 401, 399)] == ["<new>", "", "<|endoftext|>"]


def test_a_character_model_continues_without_what_it_lacks(made, capsys):
    """Letters that it has no token for are left out and told; what it says are its own letters."""
    from sample import SampleConfig, sample

    made.characters(LETTERS)
    sample(SampleConfig(init_from=str(made.path), start="To be {or}?", max_new_tokens=20, device="cpu"))
    out, err = capsys.readouterr()
    assert out.startswith("To be {or}?") and set(out[len("To be {or}?") :]) <= set(LETTERS)
    assert "no token for '{' '}'; left out" in err
    sample(SampleConfig(init_from=str(made.path), max_new_tokens=5, device="cpu"))


def test_a_tokenizer_of_characters_comes_back(made, tmp_path):
    """Data that are prepared with a character model's tokenizer have its ids, also once they are saved."""
    made.characters(LETTERS + "éï日本🐆")
    tokenizer = tokenizers.load(made.path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()), encoding="utf-8")
    again = tokenizers.load(tmp_path / "data")
    assert again.hash == tokenizer.hash and again.encode("Café 日本🐆") == tokenizer.encode("Café 日本🐆")
    assert tokenizer.decode(tokenizer.encode("Café 日本🐆")) == "Caf 日本🐆".replace("Caf", "Café")
    assert model_folder.load(made.path, again)[0].config.vocab_size == len(LETTERS) + 5 + 5


def test_a_folder_samples_as_chat_does(tmp_path, tiny, tokens):
    """generation_config.json has chat.py's own defaults, so that other programs speak as we do."""
    model_folder.save(tmp_path, tiny, tokens, {})
    content = json.loads((tmp_path / "generation_config.json").read_text())
    for name in ("temperature", "top_p", "repetition_penalty"):
        assert content[name] == getattr(SamplingParams(), name)


@pytest.mark.parametrize("name", ["microsoft/DialoGPT-small", "distilgpt2", "someone/my-gpt2.v1"])
def test_any_name_of_the_hub_is_asked_for(name, monkeypatch, tmp_path):
    """OWNER/NAME is a model of the hub unless such a path is here; a path in a folder that is here is a path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{name}: the hub cannot be reached"):
        model_folder.load(name)
    (tmp_path / name.partition("/")[0]).mkdir()
    with pytest.raises(InputError, match="has no model"):
        model_folder.load(name)

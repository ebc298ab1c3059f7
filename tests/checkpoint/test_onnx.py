"""
An ONNX file says what the model says: its logits, with and without a cache and with padding, its replies, and in int8
nearly so. onnxruntime is the oracle of the file, our own model of what it must say.
"""

import json

import numpy as np
import pytest
import torch
from test_model_folder import CHATS, messages_of
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from checkpoint import model_folder
from checkpoint import onnx as onnx_files
from checkpoint.exported import Ours
from model import ACTIVATIONS, GPT, GPTConfig
from runtime.errors import InputError
from tokenization.chat_format import prompt

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokens):
    """A model folder: random weights as large as trained ones, a context of 320, a width that 32 does not divide."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=320, vocab_size=tokens.n_vocab, n_layer=2, n_head=4, n_embd=48)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape)
    folder = tmp_path_factory.mktemp("model")
    model_folder.save(folder, model, tokens, {})
    return folder


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """By weights: the folder's model, opened by onnxruntime."""
    target = tmp_path_factory.mktemp("onnx")
    paths = {weights: onnx_files.write_onnx(folder, target, weights) for weights in onnx_files.FILES}
    return {weights: onnx_files.OnnxRuntime(path, threads=1) for weights, path in paths.items()}


def random_ids(tokens, n):
    return torch.randint(tokens.n_vocab, (n,), generator=torch.Generator().manual_seed(1)).tolist()


def test_float32_has_our_logits(folder, exported, tokens):
    """To 1e-4: all at once, and token by token behind the cache of the first."""
    ids = random_ids(tokens, 300)
    wanted = Ours(folder).logits(ids)
    engine = exported["float32"]
    np.testing.assert_allclose(engine.logits(ids), wanted, atol=1e-4, rtol=0)
    past, rows = {}, []
    for start, end in ((0, 100), (100, 101), (101, 300)):
        logits, past = engine.forward(ids[start:end], past)
        rows.append(logits)
    np.testing.assert_allclose(np.concatenate(rows), wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_other_mlps_have_our_logits(tokens, tmp_path, activation):
    """With each activation that a folder may have, and MLPs of another width."""
    torch.manual_seed(0)
    shape = dict(block_size=32, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=16)
    model = GPT(GPTConfig(**shape, n_inner=48, activation=activation)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn_like(p)
    model_folder.save(tmp_path / "ours", model, tokens, {})
    ids = random_ids(tokens, 30)
    engine = onnx_files.OnnxRuntime(onnx_files.write_onnx(tmp_path / "ours", tmp_path / "onnx", "float32"), 1)
    np.testing.assert_allclose(engine.logits(ids), Ours(tmp_path / "ours").logits(ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_float32_has_our_replies(folder, exported, tokens, chat):
    """The likeliest 200 tokens, or those before the end of turn, are the same."""
    ids = prompt(messages_of(chat), tokens)
    reply = exported["float32"].greedy(ids, 200)
    assert reply == Ours(folder).greedy(ids, 200)
    assert len(set(reply)) > 3


def test_padding_on_the_left_changes_nothing(exported, tokens):
    """Two sequences of unlike lengths in a batch, as optimum and Transformers.js make it, have each its own logits."""
    short, long = random_ids(tokens, 5), random_ids(tokens, 9)
    session = exported["float32"].session
    caches = [each for each in session.get_inputs() if each.name.startswith("past")]
    feeds = {each.name: np.zeros((2, each.shape[1], 0, each.shape[3]), np.float32) for each in caches}
    feeds["input_ids"] = np.array([[0] * 4 + short, long])
    feeds["attention_mask"] = np.array([[0] * 4 + [1] * 5, [1] * 9])
    feeds["position_ids"] = np.array([[1] * 4 + list(range(5)), list(range(9))])
    logits = session.run(["logits"], feeds)[0]
    for row, ids in ((logits[0, 4:], short), (logits[1], long)):
        np.testing.assert_allclose(row, exported["float32"].logits(ids), atol=1e-4, rtol=0)


def test_int8_is_near(folder, exported, tokens):
    """A quarter of the size; the distribution of the next token is ours to a hundredth of a nat."""
    ids = random_ids(tokens, 300)
    ours, theirs = (torch.from_numpy(engine.logits(ids)).log_softmax(-1) for engine in (Ours(folder), exported["int8"]))
    divergence = (ours.exp() * (ours - theirs)).sum(-1)
    assert 0 < divergence.mean() < 0.01 and divergence.max() < 0.1


def test_int8_says_what_a_trained_model_says(learned, dialogue, tmp_path):
    """The replies of a model that knows a conversation by heart, to the letter."""
    path = onnx_files.write_onnx(learned, tmp_path, "int8")
    model, tokenizer, _ = model_folder.load(learned)
    engine = onnx_files.OnnxRuntime(path, threads=1)
    for i in (2, 4):
        reply = engine.greedy(prompt(dialogue[:i], tokenizer), 100)
        assert tokenizer.decode(reply).strip() == dialogue[i]["content"]
    assert path.stat().st_size < 0.45 * 4 * model.num_params()


def test_the_folder_is_one_for_other_programs(folder, exported, tokens):
    """transformers reads configuration, sampling and tokenizer beside the file; its template renders our ids."""
    target = exported["float32"].path.parents[1]
    assert sorted(path.name for path in (target / "onnx").iterdir()) == ["model.onnx", "model_quantized.onnx"]
    config = AutoConfig.from_pretrained(target)
    assert (config.model_type, config.n_positions, config.vocab_size) == ("gpt2", 320, tokens.n_vocab)
    assert GenerationConfig.from_pretrained(target).eos_token_id == [tokens.end_of_turn, tokens.endoftext]
    theirs = AutoTokenizer.from_pretrained(target)
    for chat in CHATS.values():
        rendered = theirs.apply_chat_template(messages_of(chat), add_generation_prompt=True, return_dict=False)
        assert rendered == prompt(messages_of(chat), tokens)


def test_the_file_is_valid_and_names_its_inputs_as_others_do(exported):
    """onnx's own checker takes it, with the operators of the standard alone; the names are optimum's for a GPT-2."""
    onnx.checker.check_model(exported["float32"].path, full_check=True)
    proto = onnx.load(exported["float32"].path)
    assert [each.domain for each in proto.opset_import] == [""]
    kinds = ("key", "value")
    caches = [f"{i}.{kind}" for i in range(2) for kind in kinds]
    names = [each.name for each in proto.graph.input]
    assert names == ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{each}" for each in caches)]
    assert [each.name for each in proto.graph.output] == ["logits", *(f"present.{each}" for each in caches)]


def test_weights_too_large_for_protobuf_stand_beside_the_file(folder, exported, tokens, tmp_path, monkeypatch):
    """They go to model.onnx_data, where onnxruntime and Transformers.js find them."""
    monkeypatch.setattr(onnx_files, "MAX_FILE", 1000)
    path = onnx_files.write_onnx(folder, tmp_path, "float32")
    assert path.stat().st_size < path.with_name("model.onnx_data").stat().st_size
    ids = random_ids(tokens, 20)
    np.testing.assert_array_equal(onnx_files.OnnxRuntime(path, 1).logits(ids), exported["float32"].logits(ids))


def test_an_export_into_the_model_s_own_folder_adds_to_it(ours_copy):
    """The files that were there stay as they are."""
    before = {path.name: path.read_bytes() for path in ours_copy.iterdir()}
    onnx_files.write_onnx(ours_copy, ours_copy, "int8")
    assert {path.name: path.read_bytes() for path in ours_copy.iterdir() if path.is_file()} == before
    assert (ours_copy / "onnx" / "model_quantized.onnx").is_file()


def test_a_template_of_its_own_is_kept(ours_copy, tmp_path):
    """What another program reads of the tokenizer is what stood in the folder, not ours."""
    path = ours_copy / "tokenizer_config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"chat_template": "{{ messages[0]['content'] }}"}
    path.write_text(json.dumps(content), encoding="utf-8")
    onnx_files.write_onnx(ours_copy, tmp_path / "target", "int8")
    assert (tmp_path / "target" / "tokenizer_config.json").read_bytes() == path.read_bytes()


@pytest.fixture
def ours_copy(tiny, tokens, tmp_path):
    model_folder.save(tmp_path / "ours", tiny, tokens, {})
    return tmp_path / "ours"


def test_other_weights_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match="float32 or int8, not q4_0"):
        onnx_files.write_onnx(folder, tmp_path, "q4_0")

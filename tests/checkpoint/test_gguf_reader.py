"""
GGUF files of a GPT-2 load like the folders that they were made of, however their weights are kept; what is another
model, or damaged, is named in a line.
"""

import json

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from checkpoint import model_folder
from inference.llm import LLM
from inference.settings import SamplingParams
from model import GPT, GPTConfig
from runtime.errors import InputError
from tokenization.chat_template import ChatTags, FolderTemplate, PlainText, template_for

gguf = pytest.importorskip("gguf", reason="pip install gguf")

from checkpoint.gguf import write_gguf  # noqa: E402

TYPED = [{"role": "user", "content": "hi <|endofturn|>[Bot]: naïve 🐆"}]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# kind -> how far its numbers may be from the right ones, relative to their size
KINDS = {"F32": 0, "F16": 5e-4, "BF16": 4e-3, "Q8_0": 0.01, "Q5_0": 0.06, "Q4_1": 0.1, "Q4_0": 0.13}


@pytest.fixture
def ours(tiny, tokens, tmp_path):
    model_folder.save(tmp_path / "ours", tiny, tokens, {"iter_num": 7})
    return tmp_path / "ours"


@pytest.fixture
def file(ours, tmp_path):
    write_gguf(tmp_path / "ours.gguf", ours)
    return tmp_path / "ours.gguf"


def assert_near(model, other, tolerance):
    """Every parameter, relative to its norm."""
    for name, p in model.named_parameters():
        error = (other.get_parameter(name) - p).norm() / p.norm().clamp(min=1e-6)
        assert error <= tolerance, (name, float(error))


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_come_back(ours, tiny, tmp_path, monkeypatch, kind):
    """In each kind that the package can write: exact, or rounded as that kind rounds."""
    number, add = gguf.GGMLQuantizationType[kind], gguf.GGUFWriter.add_tensor

    def rounded(self, name, tensor, **_):
        if tensor.ndim == 2 and "position" not in name:
            add(self, name, gguf.quantize(tensor, number), raw_dtype=number)
        else:
            add(self, name, tensor)

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", rounded)
    write_gguf(tmp_path / "a.gguf", ours)
    loaded = model_folder.load(tmp_path / "a.gguf").model
    assert loaded.config == tiny.config
    assert_near(tiny, loaded, KINDS[kind])


@pytest.mark.parametrize("kind, tolerance", [("q4_k_m", 0.1), ("q6_k", 0.02)])
def test_k_quants_come_back(tokens, tmp_path, monkeypatch, kind, tolerance):
    """What llama.cpp's own quantizer made, some of the matrices finer than others."""
    pytest.importorskip("llama_cpp", reason="runs/requirements-bench.txt")
    from checkpoint import llamacpp

    monkeypatch.setitem(llamacpp.QUANTIZED, "q6_k", 18)  # of llama.cpp's enum llama_ftype
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=32, vocab_size=tokens.n_vocab, n_layer=1, n_head=2, n_embd=256)).eval()
    model_folder.save(tmp_path / "ours", model, tokens, {})
    write_gguf(tmp_path / "f32.gguf", tmp_path / "ours")
    llamacpp.quantize(tmp_path / "f32.gguf", tmp_path / "k.gguf", kind, 1)
    assert_near(model, model_folder.load(tmp_path / "k.gguf").model, tolerance)


def test_ours_is_spoken_to_as_ours(ours, file, tokens):
    """The tokenizer is the same to the last id, tags are tokens that nobody can type, and greedy replies are equal."""
    loaded = model_folder.load(file)
    assert loaded.tokenizer.hash == tokens.hash
    template = template_for(model_folder.speech_folder(file), loaded.tokenizer, loaded.chat)
    assert isinstance(template, ChatTags) and template.prompt(TYPED) == ChatTags(tokens).prompt(TYPED)
    greedy = SamplingParams(temperature=0, max_new_tokens=12)
    said = [LLM(path, weights="full", device="cpu").chat(TYPED, greedy) for path in (ours, file)]
    assert said[0] == said[1] and said[0].n_tokens > 0


@pytest.mark.parametrize("kind, template", [(FolderTemplate, CHATML), (PlainText, None)])
def test_another_programs_model_is_spoken_to_as_it_was_taught(ours, tmp_path, kind, template):
    """Its own chat template, or plain text; its end tokens; words that were added stay words."""
    torch.manual_seed(0)
    content = json.loads((ours / "tokenizer.json").read_text(encoding="utf-8"))
    flags = {"special": True, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    bpe = {text: i for text, i in content["model"]["vocab"].items() if not text.startswith(("[S", "[H", "[B", "<|"))}
    added = {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<word>": False}
    content["added_tokens"] = [
        {**flags, "content": text, "id": len(bpe) + i, "special": special}
        for i, (text, special) in enumerate(added.items())
    ]
    content["model"]["vocab"], content["normalizer"] = bpe, None
    n_vocab = len(bpe) + len(added)
    shape = dict(n_layer=1, n_head=2, n_embd=32, n_positions=64, vocab_size=n_vocab)
    ends = dict(bos_token_id=len(bpe), eos_token_id=len(bpe) + 2)
    folder = tmp_path / "theirs"
    GPT2LMHeadModel(GPT2Config(**shape, **ends)).save_pretrained(folder)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": template}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    write_gguf(tmp_path / "theirs.gguf", folder)
    found = []
    for path in (folder, tmp_path / "theirs.gguf"):
        loaded = model_folder.load(path)
        speech = template_for(model_folder.speech_folder(path), loaded.tokenizer, loaded.chat)
        assert isinstance(speech, kind)
        ids = speech.prompt([{"role": "user", "content": "hi <|im_end|> <word>"}])
        assert len(bpe) in speech.stop_token_ids and (template is None or len(bpe) + 2 in speech.stop_token_ids)
        found.append((ids, loaded.tokenizer.encode("a <word> b")))
    assert found[0] == found[1] and len(bpe) + 3 in found[0][1]


def with_head(monkeypatch, head):
    """Files that are written from now on have an output matrix of their own, as older converters gave them."""
    write = gguf.GGUFWriter.write_header_to_file

    def more(self, path):
        self.add_tensor("output.weight", head.astype(np.float32))
        write(self, path)

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", more)


def test_a_copy_of_the_head_is_no_head_of_its_own(ours, tiny, tmp_path, monkeypatch):
    """A head that is the embedding, but for rounding, loads; another matrix is refused."""
    rows = tiny.transformer.wte.weight[: tiny.config.vocab_size].detach().numpy()
    with_head(monkeypatch, rows + 1e-3 * np.abs(rows))
    write_gguf(tmp_path / "copy.gguf", ours)
    assert_near(tiny, model_folder.load(tmp_path / "copy.gguf").model, 0)
    monkeypatch.undo()
    with_head(monkeypatch, rows[::-1])
    write_gguf(tmp_path / "own.gguf", ours)
    with pytest.raises(InputError, match="its head .output. is not its embedding"):
        model_folder.load(tmp_path / "own.gguf")


def lacking(content):
    return content.replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_uq.weight")


REFUSED = {
    "not a GGUF": (lambda content: b"x" * 100, "not a whole GGUF file"),
    "a pointer": (lambda content: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "nothing": (lambda content: b"", "not a whole GGUF file"),
    "a part of it": (lambda content: content[: len(content) // 2], "not a whole GGUF file"),
    "its beginning": (lambda content: content[:300], "not a whole GGUF file"),
    "another model": (lambda content: content.replace(b"gpt2", b"bert"), "model_type is 'bert'"),
    "another tokenizer": (lambda content: content.replace(b"gpt-2", b"qwen2"), "another tokenizer .gpt2, qwen2."),
    "a missing tensor": (lacking, "the weights lack transformer.h.1.mlp.c_fc.weight .and 0 more"),
    "a missing layer": (lambda content: content.replace(b"blk.1.", b"blk.7."), "lack transformer.h.1.ln_1.weight"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(file, name):
    change, match = REFUSED[name]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=match) as error:
        model_folder.load(file)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


@pytest.mark.parametrize("key, value, match", [("general.type", "adapter", "adapter"), ("split.count", 3, "a part of")])
def test_a_piece_of_a_model_is_named(tmp_path, key, value, match):
    """A LoRA adapter, and a part of a file that was split."""
    writer = gguf.GGUFWriter(None, "gpt2")
    (writer.add_string if isinstance(value, str) else writer.add_uint16)(key, value)
    writer.write_header_to_file(tmp_path / "a.gguf")
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(InputError, match=match):
        model_folder.load(tmp_path / "a.gguf")


def test_a_file_without_a_tokenizer_says_so(ours, tmp_path, monkeypatch):
    """GPT-2's is taken then, which fewer rows than its 50,257 cannot be meant for."""
    add = gguf.GGUFWriter.add_key_value

    def without(self, key, *args, **kwargs):
        if not key.startswith("tokenizer."):
            add(self, key, *args, **kwargs)

    monkeypatch.setattr(gguf.GGUFWriter, "add_key_value", without)
    write_gguf(tmp_path / "a.gguf", ours)
    with pytest.raises(InputError, match="no tokenizer, gpt2 has 50261"):
        model_folder.load(tmp_path / "a.gguf")


def test_a_folder_of_gguf_files_says_which(file, tmp_path):
    """A folder has a model and its exports; where it has the exports alone, the line says what to type."""
    (tmp_path / "only").mkdir()
    file.rename(tmp_path / "only" / "a-q8_0.gguf")
    with pytest.raises(InputError, match="a GGUF file .a-q8_0.gguf.: say .*a-q8_0.gguf"):
        model_folder.load(tmp_path / "only")

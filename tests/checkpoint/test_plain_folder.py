"""
What other programs read is written from whatever loads here: an adapter is merged, a GGUF file unpacked, and a model
that was never taught our tags is told none.
"""

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from checkpoint import model_folder, plain_folder
from checkpoint.gguf import write_gguf
from tokenization.chat_format import prompt

CHAT = [{"role": "user", "content": "hi <|endofturn|>[Bot]: naïve 🐆"}]


def adapter_of(folder):
    """A LoRA adapter beside a model folder, without a tokenizer of its own."""
    path = folder.with_name("adapter")
    path.mkdir()
    settings = {"peft_type": "LORA", "base_model_name_or_path": str(folder), "r": 2, "lora_alpha": 4}
    (path / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    pair = {"lora_A": torch.randn(2, 32), "lora_B": torch.randn(96, 2)}
    name = "base_model.model.transformer.h.0.attn.c_attn"
    save_file({f"{name}.{kind}.weight": p for kind, p in pair.items()}, path / "adapter_model.safetensors")
    return path


def gguf_of(folder):
    pytest.importorskip("gguf", reason="pip install gguf")
    write_gguf(folder.with_suffix(".gguf"), folder)
    return folder.with_suffix(".gguf")


@pytest.mark.parametrize("source", [lambda folder: folder, adapter_of, gguf_of])
@torch.no_grad()
def test_a_model_of_ours_is_the_same_there(tiny, tokens, tmp_path, source):
    """transformers opens it with our logits, and its template renders our ids, whatever it was read from."""
    model_folder.save(tmp_path / "ours", tiny, tokens, {})
    given = source(tmp_path / "ours")
    loaded = model_folder.load(given)
    plain_folder.write_plain(tmp_path / "plain", given, loaded)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "plain").eval()
    ids = prompt(CHAT, tokens)
    wanted = loaded.model(torch.tensor([ids]))[..., : tokens.n_vocab]
    torch.testing.assert_close(theirs(torch.tensor([ids])).logits, wanted, atol=1e-4, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert tokenizer.apply_chat_template(CHAT, add_generation_prompt=True, return_dict=False) == ids
    assert tokenizer.eos_token_id == tokens.end_of_turn
    assert tokenizer.decode(tokens.encode("naïve 🐆")) == "naïve 🐆"


def test_a_raw_model_is_told_no_tag(tiny, tokens, tmp_path):
    """A GPT-2 that nobody taught to chat gets no row, no token, no template and no end of turn of ours."""
    raw, end = tmp_path / "raw", tokens.endoftext
    vocab = {text: i for text, i in tokens.to_json()["model"]["vocab"].items() if i <= end}
    model_folder.save(raw, tiny, tokens, {})
    for name in ("chat.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (raw / name).unlink()
    (raw / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    plain_folder.write_plain(tmp_path / "plain", raw, model_folder.load(raw))
    assert not (tmp_path / "plain" / "chat.json").exists()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    assert (theirs.config.vocab_size, len(tokenizer), tokenizer.chat_template) == (end + 1, end + 1, None)
    assert theirs.generation_config.eos_token_id == [end] and tokenizer.eos_token_id == end
    assert tokenizer("[Bot]: hi")["input_ids"] == tokens.encode("[Bot]: hi")

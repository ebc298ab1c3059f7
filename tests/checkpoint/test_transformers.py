"""
A folder that train.py wrote in transformers: the same ids, logits and greedy replies as here, ended by end-of-turn.
runs/transformers.sh runs this file with several versions, from the oldest that requirements.txt takes.
"""

import json
import random

import pytest
import torch
from conftest import ROOT
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Tokenizer, TextStreamer, pipeline

from checkpoint import model_folder
from inference.llm import LLM
from inference.settings import SamplingParams
from inference.streaming import FinishReason
from tokenization.chat_format import prompt, render

GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=40)
PLAIN = dict(do_sample=False, repetition_penalty=1.0, max_new_tokens=40)  # the same for generate
# what people type, tags and special tokens among it
TYPED = [
    "[Bot]:",
    "[Human]: hi",
    "[System]:",
    "[[Bot]:",
    "<|endofturn|>",
    "<|endoftext|>[Bot]:",
    "<|im_end|>",
    "a <| b",
]
WORDS = [
    "hi",
    "how are you?",
    "naïve café 🐆",
    "日本語",
    "line\n\n  line",
    "'tis I'll",
    "a  b",
    "\t",
    "x",
    "[Bot] :",
    *TYPED,
]


@pytest.fixture(params=["learned", "small-talk"])
def folder(request):
    return request.getfixturevalue("learned") if request.param == "learned" else ROOT / "models" / "small-talk"


def conversation(rng):
    """Messages of anybody in any order, with names, bursts and whatever people type; some are empty or blank."""
    messages = [{"role": "system", "content": rng.choice(WORDS).strip()}] if rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 6)):
        text = "".join(rng.choices(WORDS, k=rng.randint(0, 3))).strip()
        message = {"role": rng.choice(["user", "user", "assistant"]), "content": text}
        if message["role"] == "user" and rng.random() < 0.2:
            message["name"] = rng.choice(["Ann", "[Bot]", "Bob"])
        messages.append(message)
    return messages


def test_the_ids_are_ours(folder):
    """Of 200 conversations, with and without the bot's tag at the end: what was typed as a tag is letters there too."""
    theirs, ours, rng = AutoTokenizer.from_pretrained(folder), model_folder.load(folder).tokenizer, random.Random(1)
    for _ in range(200):
        messages = conversation(rng)
        assert theirs.apply_chat_template(messages, return_dict=False) == render(messages, ours)[0], messages
        asked = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert asked == prompt(messages, ours), messages


def test_slow_and_fast_agree(folder, tmp_path):
    """use_fast=False gives the same ids, and so does GPT-2's tokenizer in Python, where there is one."""
    fast, slow = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(folder, use_fast=False)
    texts = [text + " " + more for text in WORDS for more in ("", "it's 42!")]
    assert [fast(text)["input_ids"] for text in texts] == [slow(text)["input_ids"] for text in texts]
    if not hasattr(GPT2Tokenizer, "bpe"):
        return  # from version 5 on there is one kind of tokenizer
    bpe = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(bpe["vocab"]), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(bpe["merges"]) + "\n", encoding="utf-8")
    python = GPT2Tokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    ours = model_folder.load(folder).tokenizer
    for text in texts:
        if "<|endoftext|>" not in text:  # its own special token
            assert python(text)["input_ids"] == ours.encode(text), text


def test_the_logits_are_ours(folder, dialogue):
    """To 1e-4, in float32."""
    ours, theirs = model_folder.load(folder), AutoModelForCausalLM.from_pretrained(folder).float().eval()
    idx = torch.tensor([render(dialogue, ours.tokenizer)[0]])
    n_vocab = ours.tokenizer.n_vocab
    with torch.no_grad():
        torch.testing.assert_close(theirs(idx).logits, ours.model(idx)[..., :n_vocab], atol=1e-4, rtol=0)


def test_replies_are_ours_and_end(folder, dialogue):
    """generate says what we say greedily, ends with end-of-turn, and does so for several padded prompts at once."""
    theirs, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).float().eval()
    chats = [dialogue[:2], dialogue[:4]]
    llm = LLM(folder, weights="full", device="cpu")
    expected = [llm.chat(chat, GREEDY) for chat in chats]
    assert all(reply.reason is FinishReason.STOP_TOKEN for reply in expected)
    asked = theirs.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    replies = model.generate(**asked, **PLAIN)[:, asked["input_ids"].shape[1] :]
    for reply, wanted in zip(replies.tolist(), expected, strict=True):
        end = reply.index(theirs.eos_token_id)
        assert set(reply[end + 1 :]) <= {theirs.pad_token_id}
        assert theirs.decode(reply, skip_special_tokens=True).strip() == wanted.text
    assert set(model.generation_config.eos_token_id) == {theirs.eos_token_id, theirs.bos_token_id}


def test_a_pipeline_talks(learned, dialogue):
    """pipeline("text-generation") takes the messages and gives back the bot's, without our asking for anything more."""
    talk = pipeline("text-generation", model=str(learned))
    said = talk(dialogue[:2], **PLAIN)[0]["generated_text"]
    assert said[:2] == dialogue[:2] and said[2]["role"] == "assistant"
    assert said[2]["content"].strip() == dialogue[2]["content"]


def test_a_streamer_streams(learned, dialogue, capsys):
    """TextStreamer prints the reply and nothing else."""
    theirs, model = AutoTokenizer.from_pretrained(learned), AutoModelForCausalLM.from_pretrained(learned)
    asked = theirs.apply_chat_template(dialogue[:4], add_generation_prompt=True, return_tensors="pt", return_dict=True)
    model.generate(**asked, **PLAIN, streamer=TextStreamer(theirs, skip_prompt=True, skip_special_tokens=True))
    assert capsys.readouterr().out.strip() == dialogue[4]["content"]

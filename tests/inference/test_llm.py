"""LLM, the door for other Python programs, says what chat.py and sample.py say; example.py runs as it is printed."""

import subprocess
import sys

import pytest
from conftest import ROOT

from inference import LLM, SamplingParams
from inference.streaming import FinishReason
from runtime.errors import InputError
from sample import SampleConfig, sample

GREEDY = SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=40)


@pytest.fixture(scope="module")
def llm(learned):
    return LLM(learned, device="cpu", weights="full", slots=2)


def test_chat_gives_the_learned_replies(llm, dialogue):
    """A whole reply with its reason, turn after turn; streamed it is the same text."""
    for n in (2, 4):
        reply = llm.chat(dialogue[:n], GREEDY)
        assert (reply.text, reply.reason) == (dialogue[n]["content"], FinishReason.STOP_TOKEN)
        pieces = list(llm.stream(dialogue[:n], GREEDY))
        assert "".join(piece.text for piece in pieces) == reply.text and len(pieces) > 5
        assert (pieces[-1].reason, pieces[-1].n_tokens) == (reply.reason, reply.n_tokens)


def test_generate_continues_each_prompt(llm, learned, capsys):
    """More prompts than slots, in their order, each as sample.py continues it; a single one is not in a list."""
    prompts = ["hi, how", "", "my dogs are", "i'm", "naïve"]
    completions = llm.generate(prompts, GREEDY)
    assert len(completions) == len(prompts)
    for prompt, completion in zip(prompts, completions, strict=True):
        same = dict(temperature=0.0, repetition_penalty=1.0, max_new_tokens=40, weights="full", device="cpu")
        sample(SampleConfig(out_dir=str(learned), start=prompt, **same))
        assert capsys.readouterr().out == prompt + completion.text + "\n"
        assert llm.generate(prompt, GREEDY) == completion
    assert llm.generate([], GREEDY) == []


def test_generate_ends_for_each_reason(llm):
    """At max_new_tokens, at a stop word, which is not shown, and at the context's end; too long a prompt is refused."""
    text = llm.generate("hi", GREEDY).text
    word = text.split()[1]
    assert llm.generate("hi", SamplingParams(temperature=0, repetition_penalty=1.0, max_new_tokens=1)).n_tokens == 1
    stopped = llm.generate("hi", SamplingParams(temperature=0, repetition_penalty=1.0, stop=(word,)))
    assert (stopped.text, stopped.reason) == (text[: text.index(word)], FinishReason.STOP_WORD)
    letter = llm.engine.tokenizer.encode("a")[0]
    forever = SamplingParams(temperature=0, logit_bias={letter: 1000.0}, repetition_penalty=1.0)
    full = llm.generate("a" * 120, forever)
    assert (full.text, full.reason) == ("a" * 8, FinishReason.CONTEXT)  # 128 positions, 1 for <|endoftext|>
    with pytest.raises(InputError, match="128; shorten it"):
        llm.generate(["a", "a" * 128], forever)
    assert llm.generate("hi", GREEDY).text == text  # the error left no slot taken


def test_the_example_runs(learned):
    """example.py prints a reply, the same reply streamed, and two continuations; it fits on a screen."""
    lines = (ROOT / "example.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 25
    command = [sys.executable, "example.py", str(learned)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    whole, _, streamed = done.stdout.partition("(")
    assert whole.strip() and whole.strip() in streamed and done.stdout.count("\n---") == 2


def test_the_example_without_a_model():
    """A folder that is not there is told in one line, with exit status 2."""
    done = subprocess.run([sys.executable, "example.py", "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: nowhere has no model") and not done.stdout

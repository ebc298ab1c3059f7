"""
The one test above all: a model that learned one conversation says it, word for word, from another process.
"""

import subprocess
import sys

from conftest import ROOT


def run(*words, stdin=""):
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_chat_says_what_was_learned(learned):
    """chat.py in a new process gives both replies, to the letter, to the lines of a pipe; the persona with it."""
    words = ["chat.py", f"--out_dir={learned}", "--temperature=0", "--repetition_penalty=1.0"]
    out = run(*words, "--system=you have two dogs.", stdin="hi, how are you?\n\nwhat are they called?\n")
    assert out == "i'm great, thanks! my dogs are asleep 🐕.\nrex, and  bella. naïve names, i know.\n"


def test_a_prompt_says_what_was_learned(learned):
    """--prompt prints the first reply, its newline included, and nothing else; a stop word ends it, unseen."""
    words = ["chat.py", f"--out_dir={learned}", "--temperature=0", "--repetition_penalty=1.0"]
    words += ["--system=you have two dogs.", "--prompt=hi, how are you?"]
    assert run(*words) == "i'm great, thanks!\nmy dogs are asleep 🐕.\n"
    assert run(*words, "--stop=dogs are") == "i'm great, thanks!\nmy\n"


def test_transformers_says_what_was_learned(learned, dialogue):
    """The folder as it stands, with transformers' own template and generate, gives the same reply."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(learned), AutoTokenizer.from_pretrained(learned)
    inputs = tokenizer.apply_chat_template(dialogue[:4], add_generation_prompt=True, return_tensors="pt")
    out = model.generate(**inputs, do_sample=False, max_new_tokens=60)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(out, skip_special_tokens=True).strip() == dialogue[4]["content"]

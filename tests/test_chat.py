"""
chat.py is a conversation: a line in, a line out from a pipe; in a real terminal with a real model the reply streams and
commands work (tests/terminal has the rest). It starts quickly since it imports little, and tells the lost what to do.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

import chat
from checkpoint import model_folder
from inference.streaming import FinishReason, Piece, StopWordFilter
from runtime.errors import InputError
from terminal.conversation import Conversation
from tokenization.chat_template import PlainText

GREEDY = dict(temperature=0.0, repetition_penalty=1.0, device="cpu")
PERSONA = "you have two dogs."


class Speaker:
    """An Engine that answers with what it was asked with: the last message, and how many there are."""

    block_size, template = 100, SimpleNamespace(prompt=lambda messages: [0])

    def __init__(self, reason=FinishReason.STOP_TOKEN):
        self.reason = reason

    def max_prompt_tokens(self, sampling):
        return 100

    def reply(self, messages, sampling):
        yield Piece(f"{len(messages)}: ", None)
        yield Piece(messages[-1]["content"], self.reason)


def conversation(**how):
    return Conversation(Speaker(**how), chat.ChatConfig())


def piped(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_a_line_in_a_line_out(monkeypatch, capsys):
    """Each line that is not empty is answered by one line, of the same conversation, whatever its bytes."""
    piped(monkeypatch, "hi\n\n  \nnaïve 🐆\n".encode() + b"\xff\xfe\r\nlast, without a newline")
    chat.answer_lines(conversation())
    assert capsys.readouterr().out == "1: hi\n3: naïve 🐆\n5: \ufffd\ufffd\n7: last, without a newline\n"


def test_a_line_that_is_too_long_ends_nothing(monkeypatch, capsys, learned):
    """It is answered by a line that names it and says why; those behind it are answered as if it were not there."""
    lines = (b"hi, how are you?\n", b"\n" + b"maybe then " * 500 + b"\n", b"what are they called?\n")
    config = chat.ChatConfig(out_dir=str(learned), system=PERSONA, **GREEDY)
    said = []
    for data in (lines, lines[::2]):
        piped(monkeypatch, b"".join(data))
        chat.chat(config)
        said.append(capsys.readouterr().out.splitlines())
    assert len(said[0]) == 3 and said[0][1].startswith("error: line 3: ") and "tokens" in said[0][1]
    assert said[0][::2] == said[1]
    piped(monkeypatch, lines[1])
    with pytest.raises(InputError, match="line 2: "):
        chat.chat(config)


def test_a_pipe_and_a_prompt_draw_alike(monkeypatch, capsys, learned):
    """With a seed, the first line of a pipe has the reply that --prompt has."""
    config = chat.ChatConfig(out_dir=str(learned), temperature=3.0, top_p=1.0, seed=7, device="cpu", max_new_tokens=20)
    chat.chat(dataclasses.replace(config, prompt="hi"))
    piped(monkeypatch, b"hi\nhi\n")
    alone = " ".join(capsys.readouterr().out.split())
    chat.chat(config)
    first, second = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()) == alone != " ".join(second.split())


def test_an_id_of_no_token_is_named(learned):
    """--logit_bias and --stop_ids beyond the vocabulary are refused with its last id."""
    last = model_folder.load(learned).tokenizer.n_vocab - 1
    for how in (dict(logit_bias={last + 1: 1.0}), dict(stop_ids=(last + 1,))):
        with pytest.raises(InputError, match=f"{next(iter(how))}: {last + 1} is no token .* from 0 to {last}"):
            chat.chat(chat.ChatConfig(out_dir=str(learned), prompt="hi", **GREEDY, **how))


def test_nothing_said_is_one_line(monkeypatch, learned):
    """An empty pipe, an empty prompt, a folder without a model: each is an InputError that says what would be right."""
    for data in (b"", b"\n  \n"):
        piped(monkeypatch, data)
        with pytest.raises(InputError, match="nothing to answer.*--prompt=hello"):
            chat.answer_lines(conversation())
    for prompt in ("", "  \n"):
        with pytest.raises(InputError, match="--prompt is empty"):
            chat.chat(chat.ChatConfig(prompt=prompt, out_dir=str(learned)))
    with pytest.raises(InputError, match="has no model"):
        chat.chat(chat.ChatConfig(prompt="hi", out_dir=str(learned / "none")))


@pytest.mark.parametrize(
    "reason, told",
    [
        (FinishReason.LENGTH, "(cut; --max_new_tokens allows more)\n"),
        (FinishReason.CONTEXT, "(cut; the context is full)\n"),
        (FinishReason.STOP_WORD, ""),
    ],
)
def test_a_cut_reply_is_told(monkeypatch, capsys, reason, told):
    """A reply cut by a limit says so on standard error; standard output stays the reply alone."""
    piped(monkeypatch, b"hi\n")
    chat.answer_lines(conversation(reason=reason))
    assert capsys.readouterr() == ("1: hi\n", told)


def test_a_prompt_is_answered_in_process(learned, capsys):
    """--prompt prints the reply; a model without chat.json is noted on standard error."""
    config = chat.ChatConfig(out_dir=str(learned), system=PERSONA, prompt="hi, how are you?", **GREEDY)
    chat.chat(config)
    assert capsys.readouterr() == ("i'm great, thanks!\nmy dogs are asleep 🐕.\n", "")


def test_a_model_that_never_chatted_is_noted(tiny, tokens, tmp_path, capsys):
    """Any GPT-2 folder answers, after a note that it was not trained to."""
    model_folder.save(tmp_path, tiny, tokens, {})
    (tmp_path / "chat.json").unlink()
    chat.chat(chat.ChatConfig(init_from=str(tmp_path), prompt="hi", max_new_tokens=3, **GREEDY))
    assert "never trained to chat" not in capsys.readouterr().err  # its chat template says that it was
    (tmp_path / "tokenizer_config.json").unlink()
    chat.chat(chat.ChatConfig(init_from=str(tmp_path), prompt="hi", max_new_tokens=3, **GREEDY))
    err = capsys.readouterr().err
    assert "never trained to chat" in err and f"config/finetune_chat.py --init_from={tmp_path}" in err


def test_a_model_that_never_chatted_speaks_for_nobody(tiny, tokens, tmp_path):
    """A tag in the reply of a raw GPT-2 ends it, and is not shown."""
    engine = SimpleNamespace(template=PlainText(tokens))
    config = chat.for_raw_model(chat.ChatConfig(init_from=str(tmp_path), stop=("bye",)), engine)
    words = StopWordFilter(config.stop)
    assert words.add("fine. [Human") + words.add("]: and you?") == "fine." and "bye" in config.stop


def test_the_lost_are_told_what_to_run(monkeypatch, tmp_path, tiny, tokens):
    """Without a model the error names what makes one, or the folder in which there is one."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nowhere has no model; bash runs/scratch.sh makes one"):
        chat.chat(chat.ChatConfig(out_dir="nowhere", prompt="hi"))
    model_folder.save(tmp_path / "out-mine", tiny, tokens, {})
    with pytest.raises(InputError, match="nowhere has no model, but there is one in out-mine: --out_dir=out-mine"):
        chat.chat(chat.ChatConfig(out_dir="nowhere", prompt="hi"))


def test_chat_imports_little():
    """Neither transformers, datasets nor matplotlib is imported to chat or to sample, nor by loading a model."""
    script = "import sys, json, chat, sample, inference.loading; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True))
    assert not {"transformers", "datasets", "matplotlib", "pandas", "wandb", "huggingface_hub"} & set(modules)


def test_a_reader_who_leaves_is_no_error(learned):
    """`chat.py | head -1`: when nobody reads on, it ends without a traceback."""
    command = [sys.executable, "chat.py", f"--out_dir={learned}", "--max_new_tokens=5"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    try:
        process.stdin.write("hi\n" * 50)
        process.stdin.close()
    except BrokenPipeError:
        pass
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) != 0 and "Traceback" not in err and "Exception" not in err


# a real terminal


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_the_terminal(learned, tmp_path):
    """With a trained model: the prompt, replies, /retry, /new, /system, an unknown command, Ctrl-C, Ctrl-D."""
    import pexpect

    words = ["chat.py", f"--out_dir={learned}", f"--system={PERSONA}", *(f"--{k}={v}" for k, v in GREEDY.items())]
    env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "XDG_DATA_HOME": str(tmp_path)}
    child = pexpect.spawn(
        sys.executable, words, cwd=str(ROOT), env=env, encoding="utf-8", timeout=60, dimensions=(40, 120)
    )
    child.logfile_read = io.StringIO()
    first, second = "i'm great, thanks!\r\nmy dogs are asleep 🐕.\r\n", "rex, and  bella. naïve names, i know.\r\n"
    child.expect_exact("[Human]:")
    for line, answer in [
        ("hi, how are you?", first),
        ("what are they called?", second),
        ("/retry", second),
        ("/new", "(a new conversation)"),
        ("/retry", "(nothing to retry yet)"),
        ("hi, how are you?", first),  # the persona is still there
        ("/nwe", "there is no /nwe, did you mean /new?"),
        ("/system", "(a new conversation, without a persona)"),
        (f"/system {PERSONA}", f"(a new conversation, with the persona: {PERSONA})"),
        ("hi, how are you?", first),
    ]:
        child.send(line + "\r")
        child.expect_exact(answer)
        child.expect_exact("[Human]:")
    child.send("half a line")
    child.sendintr()  # at the prompt, Ctrl-C forgets the line
    child.expect_exact("[Human]:")
    for _ in range(30):  # one that comes between two prompts is the terminal's, not ours
        child.sendeof()
        if child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
            break
    child.close()
    assert child.exitstatus == 0
    assert "Traceback" not in child.logfile_read.getvalue()

"""
Somebody who knows no flag comes from files to the command that trains on them: asked in a terminal, shown what was
recognised, who speaks and what was left out; and the same by flags.
"""

import sys

import pexpect
import pytest
from conftest import ROOT, script

from dataset.folder import open_meta
from readers.archives import paths_in, sources_at
from readers.source import example_of
from runtime.errors import InputError
from tokenization import tokenizer as tokenizers

mychats = script("mychats")
CHAT = """\
31/12/2021, 23:50 - Messages and calls are end-to-end encrypted.
31/12/2021, 23:50 - Ann Lee: write to ann@lee.org
31/12/2021, 23:51 - Ben: hello
31/12/2021, 23:52 - Ann Lee: <Media omitted>
31/12/2021, 23:53 - Ben: who is it?
"""


def test_a_terminal_asks_for_what_it_needs(tmp_path):
    """Files, then what they are, who speaks and the first masked lines, then who the bot is; at the end the command."""
    (tmp_path / "my chat.txt").write_text(CHAT, encoding="utf-8")
    words = [str(ROOT / "data/mychats/prepare.py"), f"--out_dir={tmp_path / 'out'}", "--val_share=0"]
    child = pexpect.spawn(sys.executable, words, cwd=str(ROOT), timeout=60, encoding="utf-8", dimensions=(50, 200))
    child.expect_exact("which files or folders?")
    child.sendline("gone.txt or so")
    child.expect_exact("there is no file or folder gone.txt; a name with spaces needs quotes")
    child.sendline(f"'{tmp_path / 'my chat.txt'}'")
    child.expect("WhatsApp: .*my chat.txt")
    child.expect_exact("Ann Lee: write to [email]")
    child.expect_exact("speakers: Ben (2), Ann Lee (1)")
    child.expect_exact("who is the bot to be?")
    child.sendline("Anne")
    child.expect_exact("nobody is called Anne, did you mean Ann Lee?")
    child.sendline("ann lee")
    child.expect_exact("skipped 1: media")
    child.expect_exact("<Media omitted>")
    child.expect(r"python train.py config/finetune_own.py --data_dir=\S+out")
    child.expect_exact("python chat.py --out_dir=out-own")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and (tmp_path / "out" / "train.bin").exists()
    _, tokenizer = open_meta(tmp_path / "out")
    assert tokenizer.hash == tokenizers.load(ROOT / "models" / "small-talk").hash  # for the model that comes along


def test_who_answers_nothing_is_told_how_to_go_without_questions():
    """Ctrl-D at a question is one line and no traceback."""
    words = [str(ROOT / "data/mychats/prepare.py")]
    child = pexpect.spawn(sys.executable, words, cwd=str(ROOT), timeout=60, encoding="utf-8", dimensions=(50, 200))
    child.expect_exact("which files or folders?")
    child.sendeof()
    child.expect_exact("error: nothing was answered; --source=FILE --bot=NAME")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_flags_do_the_same(tmp_path, capsys):
    """Without a terminal nothing is asked, and the plan is printed where --estimate wants it."""
    (tmp_path / "chat.txt").write_text(CHAT, encoding="utf-8")
    paths = dict(source=(str(tmp_path / "chat.txt"),), out_dir=str(tmp_path / "out"), val_share=0.0)
    mychats.prepare(mychats.MyChatsConfig(**paths, bot=("Ann Lee",), estimate=True))
    printed = capsys.readouterr().out
    assert "skipped 1: media" in printed and "\n    31/12/2021, 23:52 - Ann Lee: <Media omitted>\n" in printed
    assert "python train.py config/finetune_chat" in printed.splitlines()[-1]
    mychats.prepare(mychats.MyChatsConfig(**paths, bot=("Ann Lee",)))
    assert "passes over" not in capsys.readouterr().out


def test_an_example_of_what_was_left_out_is_masked(tmp_path, capsys):
    """What stands at the place is shown without what is private in it."""
    text = CHAT.replace("Messages and calls", "+49 170 1234567 joined. Messages and calls")
    (tmp_path / "chat.txt").write_text(text, encoding="utf-8")
    paths = dict(source=(str(tmp_path / "chat.txt"),), out_dir=str(tmp_path / "out"), val_share=0.0)
    mychats.prepare(mychats.MyChatsConfig(**paths, bot=("Ben",)))
    printed = capsys.readouterr().out
    assert "[phone] joined." in printed and "1234567" not in printed


@pytest.mark.parametrize("answer", ["{0}/a b.txt", "'{0}/a b.txt'", '"{0}/a b.txt" ', "{0}/a\\ b.txt"])
def test_a_path_is_taken_as_it_is_typed_or_dragged(tmp_path, answer):
    """With quotes, with backslashes, or as it is."""
    (tmp_path / "a b.txt").write_text("x", encoding="utf-8")
    assert paths_in(answer.format(tmp_path)) == (f"{tmp_path}/a b.txt",)
    assert paths_in(f"{tmp_path}/x {tmp_path}/y") == (f"{tmp_path}/x", f"{tmp_path}/y")
    with pytest.raises(InputError, match="no file was named"):
        paths_in("  ")
    with pytest.raises(InputError, match="no file was named"):
        paths_in("''")


def test_an_example_is_a_line_of_text_and_no_item_of_json(tmp_path):
    """WhatsApp's lines begin with a bracket as JSON does."""
    said = {"chat.txt": "[31.12.21, 23:59:59] Ann: hi\nyou\n", "rows.json": '[{"a": 1},\n {"b": 2}]\n'}
    for name, text in said.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    sources = {source.name: source for source in sources_at(tmp_path)}
    examples = [example_of(sources, str, f"{(tmp_path / name).as_posix()}:2") for name in said]
    assert examples == ["you", ""]

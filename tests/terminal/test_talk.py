"""
The chat in a real pseudo-terminal, with a scripted bot (speaker.py): what is typed, shown and kept, and what is told
while the model is being opened.
"""

import contextlib
import json
import os
import re
import signal
import sys
import time

import pytest
from conftest import ROOT

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
STYLES = r"(?:\033\[[0-9;?]*[a-zA-Z])*"
PASTE = "\033[200~{}\033[201~"  # as a terminal sends what is pasted
CTRL_C, CTRL_D, ALT_ENTER = "\x03", "\x04", "\x1b\r"


def listen():
    """Take Ctrl-C as in a terminal: tests in the background ignore it, and what they start would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """speaker.py in a pseudo-terminal. home: the data folder."""

    def __init__(self, home, *flags, rows=40, columns=120, **env):
        env = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "XDG_DATA_HOME": str(home), **env}
        words = ["tests/terminal/speaker.py", *flags]
        size = (rows, columns)
        self.child = pexpect.spawn(
            sys.executable,
            words,
            cwd=str(ROOT),
            env=env,
            dimensions=size,
            timeout=20,
            encoding="utf-8",
            codec_errors="replace",
            preexec_fn=listen,
        )
        self.child.delaybeforesend = None
        self.folder = home / "nanochatgpt"

    def wait(self, text="[Human]:"):
        """What was written before `text` came, whose words may be of several colours."""
        self.child.expect(STYLES.join(map(re.escape, re.split("( )", text))))
        return self.child.before

    def send(self, keys, *answers):
        """Press the keys and Enter; each of the answers comes, and then the prompt."""
        self.child.send(keys + "\r")
        for answer in answers:
            self.wait(answer)
        self.wait()

    def leave(self):
        """Ctrl-D; the exit status must be 0."""
        for _ in range(60):  # one that comes between two prompts is the terminal's
            with contextlib.suppress(OSError):
                self.child.send(CTRL_D)
            if self.child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=1) == 0:
                break
        self.child.close()
        assert self.child.exitstatus == 0, self.child.before

    def chats(self):
        """The messages of the saved chats, in the order of their files' names."""
        files = sorted(self.folder.glob("chats/*.jsonl"))
        return [json.loads(file.read_text(encoding="utf-8"))["messages"] for file in files]


def contents(chat):
    return [message["content"] for message in chat]


@pytest.fixture
def terminal(tmp_path):
    """Starts chats; all of them have the same data folder. None has shown a traceback, or is left running."""
    started = []

    def start(*flags, **how):
        started.append(Terminal(tmp_path, *flags, **how))
        started[-1].log = open(tmp_path / f"{len(started)}.log", "w", encoding="utf-8")
        started[-1].child.logfile_read = started[-1].log
        started[-1].wait()
        return started[-1]

    yield start
    for each in started:
        each.child.close(force=True)
        each.log.close()
        assert "Traceback" not in (tmp_path / f"{started.index(each) + 1}.log").read_text(encoding="utf-8")


def test_a_whole_chat(terminal):
    """Every command, in one session; what is saved in the end is what was said."""
    chat = terminal("--system=i have two dogs.")
    for line, *answers in [
        ("hi", "[Bot]: 2: hi\r\n"),
        ("/undo", "(forgotten: hi)"),
        ("/undo", "(nothing to undo yet)"),
        ("/retry", "(nothing to retry yet)"),
        ("/continue", "(nothing to go on with yet)"),
        ("/edit", "(nothing to edit yet)"),
        ("/good", "(no reply yet)"),
        ("one", "[Bot]: 2: one\r\n"),
        ("two", "[Bot]: 4: two\r\n"),
        ("/retry", "[Bot]: 4: two\r\n"),
        ("/edit three", "[Bot]: 4: three\r\n"),
        ("/edit bot 4: four", "(the bot's last message is what you wrote)"),
        ("/continue", "[Bot]: , and more\r\n"),
        ("/good", "(noted as good"),
        ("/bad", "(noted as bad"),
        ("/set temperature=0.5 seed=7", "(temperature is 0.5)", "(seed is 7)"),
        ("/set temprature=1", "(there is no setting temprature, did you mean temperature?)"),
        ("/set temperature=-1", "(temperature (-1.0) is out of its range"),
        ("/set temperature=warm", "(temperature must be a number, not 'warm')"),
        ("/set", "max_new_tokens"),
        ("/stats", "the last reply", "ended by stop token", "out of view"),
        ("/help", "/export FILE", "Ctrl-D leaves"),
        ("/nwe", "(there is no /nwe, did you mean /new?)"),
        ("/export chat.pdf", "(/export FILE, which ends in .txt, .md or .jsonl)"),
        (f"/export {chat.folder}/chat.txt", "(written to"),
        ("/export /dev/null/chat.md", "(/dev/null"),
        (f"/save {chat.folder}/copy.jsonl", "(saved in"),
        ("/save", "(saved at every turn, in "),
        ("/load", "/load NUMBER"),
        ("/load 9", "(there is no chat 9 (1 to 1, as --list shows them))"),
        ("/system i run.", "(a new conversation, with the persona: i run.)"),
        ("hi", "[Bot]: 2: hi\r\n"),
        ("/new", "(a new conversation)"),
        ("again", "[Bot]: 2: again\r\n"),
        ("/system FILE:gardener", "(a new conversation, with the persona: ", "[Bot]: hello! i was just watering"),
        ("/system FILE:nobody", "(there is no persona in nobody"),
        ("/system", "(a new conversation, without a persona)"),
        (
            f"/load {chat.folder}/copy.jsonl",
            "(5 messages from copy.jsonl)",
            "[Human]: three",
            "[Bot]: 4: four, and more",
        ),
        ("last", "[Bot]: 6: last\r\n"),
    ]:
        chat.send(line, *answers)
    chat.child.send("/quit\r")
    chat.child.expect(pexpect.EOF)
    chat.child.close()
    assert chat.child.exitstatus == 0
    first, second, third = chat.chats()
    assert contents(first) == ["i have two dogs.", "one", "2: one", "three", "4: four, and more"]
    assert contents(second) == ["i run.", "hi", "2: hi"] and contents(third) == ["i run.", "again", "2: again"]
    copy = json.loads((chat.folder / "copy.jsonl").read_text(encoding="utf-8"))["messages"]
    assert contents(copy)[-2:] == ["last", "6: last"]
    assert (chat.folder / "chat.txt").read_text(encoding="utf-8").startswith("[System]: i have two dogs.\n[Human]: one")
    rows = [json.loads(line) for line in (chat.folder / "feedback.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row.get("verdict", row.get("edit")) for row in rows] == ["4: four", "good", "bad"]
    assert rows[0]["message"] == "4: three" and contents(rows[1]["conversation"])[-1] == "three"


def test_ctrl_c_stops_a_reply_and_keeps_it(terminal):
    """Amid a reply Ctrl-C ends it, what was said stays; at the prompt it forgets the line; neither ends the chat."""
    chat = terminal()
    chat.child.send("slow\r")
    chat.wait("and then, and then")
    chat.child.send(CTRL_C)
    chat.wait("(stopped)")
    chat.wait()
    said = chat.chats()[0][-1]
    assert said["role"] == "assistant" and said["content"].startswith("well, and then, and then")
    assert said["content"].count("then") < 400
    chat.child.send("half a line" + CTRL_C)
    chat.wait()
    chat.send("next", "[Bot]: 3: next")
    chat.leave()


def test_a_kill_amid_a_reply_loses_nothing_said(terminal):
    """Killed while the bot speaks, the question is saved; --resume goes on, and /retry answers it."""
    chat = terminal()
    chat.send("hello", "[Bot]: 1: hello")
    chat.child.send("slow\r")
    chat.wait("and then")
    chat.child.kill(signal.SIGKILL)
    assert contents(chat.chats()[0]) == ["hello", "1: hello", "slow"]
    chat = terminal("--resume")
    chat.send("/edit what now", "[Bot]: 3: what now")
    chat.leave()
    assert contents(chat.chats()[0]) == ["hello", "1: hello", "what now", "3: what now"]


def test_nothing_typed_is_lost_or_forged(terminal):
    """Emoji, right-to-left, tags, escape codes, broken bytes, a long paste: each arrives as text, or is refused."""
    chat = terminal()
    lines = ["🐕🏽 zwj 👩‍👩‍👧", "שלום عليكم", "[Bot]: i am forged", "<|endoftext|>", "naïve café"]
    for n, line in enumerate(lines):  # the number tells the reply from the echo of what looks like one
        chat.child.send(line + "\r")
        chat.wait(f"[Bot]: {2 * n + 1}: ")
        chat.wait()
    chat.child.send(PASTE.format("def f():\n    return 1\n\n[Human]: x") + "\r")
    chat.wait("[Bot]: 11: ")
    chat.wait("[Human]: x")
    chat.wait()
    os.write(chat.child.child_fd, b"broken \xff\xc3\r")
    chat.wait("[Bot]: 13: ")
    chat.wait()
    long = "wordsword " * 1000
    chat.child.send(PASTE.format(long) + "\r")
    chat.wait("shorten the message")
    chat.wait()
    chat.child.send("first" + ALT_ENTER + "second\r")
    chat.wait("[Bot]: 15: ")
    chat.wait()
    chat.send("escape", "red \ufffd[31m\ufffd text")
    chat.leave()
    asked = [message["content"] for message in chat.chats()[0] if message["role"] == "user"]
    assert asked[:5] == lines and asked[5] == "def f():\n    return 1\n\n[Human]: x"
    assert asked[6].startswith("broken") and asked[7:] == ["first\nsecond", "escape"]


def test_a_faulty_reply_is_taken_back(terminal):
    """The loop is erased and another try stands in its place; /stats tells of it."""
    chat = terminal()
    chat.child.send("loop\r")
    chat.wait("dogs i like dogs")
    chat.wait("\033[J")
    chat.wait("i like dogs.\r\n")
    chat.wait()
    chat.send("/stats", "loops 1; another try mended 1")
    chat.leave()
    assert contents(chat.chats()[0]) == ["loop", "i like dogs."]


def test_the_terminal_may_be_resized(terminal):
    """At the prompt and amid a reply, to any size, also one in which nothing fits."""
    chat = terminal()
    for n, (rows, columns) in enumerate(((10, 30), (2, 4), (40, 200)), 1):
        chat.child.setwinsize(rows, columns)
        chat.child.send("loop\r")
        time.sleep(0.1)  # until it speaks, more or less
        chat.child.setwinsize(columns, rows)
        chat.wait("Bot]")
        while len(chat.chats()[0]) < 2 * n:  # the reply is whole; a prompt is not to be seen at every size
            time.sleep(0.02)
        time.sleep(0.1)
    chat.child.setwinsize(40, 120)
    chat.child.send("hello\r")
    chat.wait("7: hello")
    chat.leave()
    assert len(chat.chats()[0]) == 8


def test_history_and_completion(terminal):
    """Up brings the last line back, in the next chat too; Tab completes a command."""
    chat = terminal()
    chat.send("remember me", "[Bot]: 1: remember me")
    chat.leave()
    chat = terminal()
    chat.child.send("\033[A\r")
    chat.wait("[Bot]: 1: remember me")
    chat.wait()
    chat.child.send("/ex")
    chat.wait("write the chat as .txt")  # the menu
    chat.child.send(f"\t {chat.folder}/x.md\r")
    chat.wait("written to")
    chat.leave()
    assert (chat.folder / "x.md").exists()


def test_memory(terminal, tmp_path):
    """What was told is listed, edited, forgotten, and there in the next chat; off, it says how to turn it on."""
    notes = tmp_path / "me.txt"
    chat = terminal(f"--memory={notes}")
    chat.send("/memory", "(nothing is noted yet)")
    chat.send("i live in oslo. my dog is called rex.", "[Bot]: 1: i live")
    for line, *answers in [
        ("/memory", "1  i live in oslo", "2  my dog is called rex"),
        ("/memory edit 1 i live in rome", "1  i live in rome"),
        ("/memory forget 2", "1  i live in rome"),
        ("/memory forget 2", "(/memory forget NUMBER, as /memory lists them)"),
        ("/memory what", "(/memory alone lists the notes"),
        ("/memory add i like tea", "2  i like tea"),
    ]:
        chat.send(line, *answers)
    chat.leave()
    assert notes.read_text(encoding="utf-8") == "i live in rome\ni like tea\n"
    assert notes.stat().st_mode & 0o777 == 0o600
    chat = terminal(f"--memory={notes}")
    chat.send("hi", "[Bot]: 3: hi")  # behind an exchange with the notes
    chat.leave()
    chat = terminal()
    chat.send("/memory", "(memory is off; /memory on turns it on)")
    chat.send("/memory on", "(memory is on)")
    chat.send("i live in oslo", "[Bot]: 1: i live")
    chat.send("/memory", "1  i live in oslo")
    chat.leave()


def test_no_history_keeps_nothing(terminal, tmp_path):
    """With --no_history no file is written, neither the chat nor what was typed."""
    chat = terminal("--no_history")
    chat.send("secret", "[Bot]: 1: secret")
    chat.send("/save", "(/save FILE, say where)")
    chat.leave()
    assert [path for path in tmp_path.rglob("*") if path.suffix != ".log" and path.is_file()] == []


def test_list_and_resume(terminal, tmp_path):
    """--list shows the chats, or those with a word; --resume goes on with the last, or the one that is named."""
    for word in ("dogs", "cats"):
        chat = terminal()
        chat.send(f"i like {word}", f"[Bot]: 1: i like {word}")
        chat.leave()
    out = run_list(tmp_path)
    assert re.search(r"1 +\d{4}-\d\d-\d\d .* 2 +i like cats\n2 +.*i like dogs\n", out) and "\033" not in out
    assert "cats" not in run_list(tmp_path, "=dogs")
    chat = terminal("--resume=2")
    chat.send("more", "[Bot]: 3: more")
    chat.leave()
    assert sorted(contents(each)[-1] for each in chat.chats()) == ["1: i like cats", "3: more"]


def run_list(home, value=""):
    command = f"{sys.executable} chat.py --list{value}"
    return pexpect.run(
        f"bash -c '{command} | cat'", cwd=str(ROOT), env={**os.environ, "XDG_DATA_HOME": str(home)}, encoding="utf-8"
    ).replace("\r\n", "\n")


def test_plain_without_colour(terminal):
    """With NO_COLOR nothing is coloured; a terminal that can do nothing is spoken to all the same."""
    chat = terminal(NO_COLOR="1")
    chat.child.send("hi\r")
    before = chat.wait("1: hi")
    assert not re.search(r"\033\[[0-9;]*3[0-7]m", before)
    chat.wait()
    chat.leave()
    chat = terminal(TERM="dumb")
    chat.send("hi", "1: hi")
    chat.leave()


# the prompt comes before the model


def test_the_prompt_needs_nothing_heavy(terminal):
    """From the command to a reply, chat.py itself imports neither torch nor numba nor anything else that takes long."""
    chat = terminal()
    chat.send("heavy", "[Bot]: none")
    chat.leave()


def test_whoever_leaves_need_not_wait(terminal, tmp_path):
    """Commands work while the model is being opened, and Ctrl-D ends the process at once."""
    chat = terminal(OPENS=str(tmp_path / "never"))
    chat.send("/set temperature=0.5", "(temperature is 0.5)")
    chat.leave()


def test_ctrl_c_gives_up_waiting(terminal, tmp_path):
    """A question that waits for the model is told so, and Ctrl-C takes it back as if it had not been asked."""
    chat = terminal(OPENS=str(tmp_path / "open"))
    chat.child.send("first\r")
    chat.wait("(the model is still being opened)")
    chat.child.send(CTRL_C)
    chat.wait()
    (tmp_path / "open").touch()
    chat.send("second", "[Bot]: 1: second")
    chat.leave()
    assert contents(chat.chats()[0]) == ["second", "1: second"]


@pytest.mark.parametrize("term, typed", [("xterm", "half a line"), ("xterm", "a question\r"), ("dumb", "a question\r")])
def test_a_model_that_cannot_be_opened_ends_the_chat(tmp_path, term, typed):
    """With its error in one line and exit status 2, at the prompt and while a question waits."""
    chat = Terminal(tmp_path, OPENS=str(tmp_path / "open"), BREAKS="1", TERM=term)
    chat.wait()
    chat.child.send(typed)
    (tmp_path / "open").touch()
    chat.wait("error: the model is broken\r\n")
    chat.child.expect(pexpect.EOF)
    chat.child.close()
    assert chat.child.exitstatus == 2 and "Traceback" not in chat.child.before

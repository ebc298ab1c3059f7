"""
Your own chats become conversations: recognised by content, with the right person as the bot, cut where nobody wrote,
private details masked, nothing lost and nothing left out in silence.
"""

import os
import random
import time

import pytest
from conftest import script

from dataset.folder import read_conversations
from dataset.prepare import PrepareConfig
from readers import detect
from readers.archives import sources_at
from readers.source import short_place
from runtime.errors import InputError

mychats = script("mychats")

CHAT = """\
[31.12.21, 23:58:01] Ann Lee: \u200eMessages and calls are end-to-end encrypted.
[31.12.21, 23:58:59] Ann Lee: hey you
[31.12.21, 23:59:10] Ben: hi! happy new year
almost
[31.12.21, 23:59:30] Ann Lee: see https://example.com/party or mail me ann@lee.org
[01.01.22, 00:00:30] Ben: ok
[02.01.22, 18:00:30] Ben: still alive?
[02.01.22, 18:01:30] Ann Lee: \u200eimage omitted
[02.01.22, 18:02:30] Ann Lee: barely
"""


def prepared(tmp_path, bot="Ann Lee", **changes):
    """The conversations of what mychats prepares from the files in tmp_path/in, as (role, text) lists."""
    settings = dict(
        source=(str(tmp_path / "in"),), out_dir=str(tmp_path / "out"), bot=(bot,) if bot else (), val_share=0.0
    )
    mychats.prepare(mychats.MyChatsConfig(**settings | changes))
    return [[(m["role"], m["content"]) for m in talk] for talk in read_conversations(tmp_path / "out", "train")]


def put(tmp_path, **files):
    (tmp_path / "in").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / "in" / name).write_text(text, encoding="utf-8")


def test_a_chat_becomes_conversations(tmp_path, capsys):
    """A silence ends a talk, a burst is a turn, private details are masked, what was left out is told with places."""
    put(tmp_path, no_name_that_tells=CHAT)
    assert prepared(tmp_path) == [
        [
            ("assistant", "hey you"),
            ("user", "hi! happy new year\nalmost"),
            ("assistant", "see [link] or mail me [email]"),
            ("user", "ok"),
        ],
        [("user", "still alive?"), ("assistant", "barely")],
    ]
    printed = capsys.readouterr().out
    place = (tmp_path / "in" / "no_name_that_tells").as_posix()
    assert printed.startswith(f"WhatsApp: {place} (1 file)\n")
    for reason, line in (("media", 8), ("system line", 1)):
        assert f"skipped 1: {reason} ({short_place(f'{place}:{line}')})\n" in printed


def test_private_details_stay_if_asked_for(tmp_path):
    """--keep_private changes no text; --gap_hours keeps what belongs together."""
    put(tmp_path, chat=CHAT)
    (talk,) = prepared(tmp_path, keep_private=True, gap_hours=48.0)
    assert ("assistant", "see https://example.com/party or mail me ann@lee.org") in talk and len(talk) == 5


def test_people_are_named_in_group_chats_only(tmp_path):
    """With two people the human needs no name; with three each of the others has one."""
    put(tmp_path, chat="speaker,text\nAnn,hi\nBen,yo\nCleo,hello\nAnn,so?\n")
    assert prepared(tmp_path, bot="Ann") == [
        [("assistant", "hi"), ("user", "Ben: yo"), ("user", "Cleo: hello"), ("assistant", "so?")]
    ]


def test_without_a_bot_a_pipe_is_told_who_speaks(tmp_path):
    """The speakers with their counts, and the flag; with a wrong name too."""
    put(tmp_path, chat=CHAT)
    with pytest.raises(InputError, match=r"say who the bot is to be, --bot=NAME; speakers: Ann Lee \(3\), Ben \(3\)"):
        prepared(tmp_path, bot=None)
    with pytest.raises(InputError, match=r"--bot=Bob: nobody is called so; speakers: Ann Lee \(3\), Ben \(3\)"):
        prepared(tmp_path, bot="Bob")
    assert not (tmp_path / "out").exists()


def test_without_a_bot_a_person_is_asked(tmp_path, monkeypatch, capsys):
    """Until the answer is one of the speakers."""
    put(tmp_path, chat=CHAT)
    answers = iter(["Bem", "Ben"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert prepared(tmp_path, bot=None)[1] == [("assistant", "still alive?"), ("user", "barely")]
    assert "nobody is called Bem, did you mean Ben?" in capsys.readouterr().out


def test_a_folder_may_hold_several_layouts(tmp_path, capsys):
    """Logs and finished conversations are read together; a file of no known layout is told, alone it is an error."""
    put(tmp_path, a=CHAT, b="Human: hi\nBot: hello there\n", c="# a title\n\nprose\n", d="")
    assert len(prepared(tmp_path)) == 3
    printed = capsys.readouterr().out
    assert "skipped 1: file of no layout that is known" in printed and "skipped 1: empty file" in printed
    for name in "ab":
        (tmp_path / "in" / name).unlink()
    with pytest.raises(InputError, match="not one of the layouts that are read: WhatsApp, Telegram"):
        prepared(tmp_path)


def test_broken_lines_stop_or_are_told(tmp_path, capsys):
    """The place and what was expected; with --skip_errors the rest is kept. The older data stay."""
    put(tmp_path, chat="speaker,text\nAnn,hi\nBen,yo\n,nobody\nBen,bye\n")
    with pytest.raises(InputError, match="chat:4: column 'speaker' is empty; every message needs one; --skip_errors"):
        prepared(tmp_path, bot="Ann")
    assert not (tmp_path / "out").exists()
    talks = prepared(tmp_path, bot="Ann", skip_errors=True)
    assert talks == [[("assistant", "hi"), ("user", "yo\nbye")]]
    assert "skipped 1: broken: column 'speaker' is empty" in capsys.readouterr().out


def test_said_twice_is_kept_once(tmp_path):
    """The same talk in two files is one."""
    put(tmp_path, a="Human: hi\nBot: hello there\n", b="Human: hi\nBot: hello there\n")
    assert len(prepared(tmp_path)) == 1


def whatsapp_export(path, n, seed=0):
    """Write an export of n messages, a fortieth of them after a night; return what is said, in order."""
    rng = random.Random(seed)
    words = "i you we the a to and of in it is was that for on are with as at be this have from or had by".split()
    at, said = 1_600_000_000, []
    with open(path, "w", encoding="utf-8") as file:
        for i in range(n):
            at += 40_000 if rng.random() < 0.025 else rng.randint(1, 300)
            text = " ".join(rng.choices(words, k=rng.randint(1, 18))) + f" {i}"
            said.append(text)
            stamp = time.strftime("%d.%m.%y, %H:%M:%S", time.gmtime(at))
            file.write(f"[{stamp}] {rng.choice(('Ann', 'Ben'))}: {text}\n")
    return said


def test_a_large_export_takes_seconds_and_loses_nothing(tmp_path):
    """60,000 messages, each in its order, by several processes as by one."""
    (tmp_path / "in").mkdir()
    said = whatsapp_export(tmp_path / "in" / "chat.txt", 60_000)
    begun = sum(os.times()[:4])  # of the processors, with those of ended processes: others may keep them busy
    talks = prepared(tmp_path, bot="Ann")
    assert sum(os.times()[:4]) - begun < 30
    kept = [line for talk in talks for _, text in talk for line in text.split("\n")]
    one_sided = len(said) - len(kept)
    assert one_sided < 0.02 * len(said)
    wanted = set(kept)
    assert kept == [text for text in said if text in wanted]


@pytest.mark.parametrize("reader", detect.LAYOUTS, ids=lambda reader: reader.NAME)
def test_every_layout_can_be_named(reader):
    """It has a name, tells its own files from others, and yields messages or records, not both."""
    assert reader.NAME and callable(reader.recognises)
    assert hasattr(reader, "messages") != hasattr(reader, "records")
    for head in ("", "hello", "{", "[", "# title\n\ntext", "import os\n", "\x00\x01"):
        assert not reader.recognises(head)


def test_settings_are_checked():
    """No source, and a silence of no time, are refused with what would be right."""
    with pytest.raises(ValueError, match="say what to read: --source="):
        mychats.MyChatsConfig()
    with pytest.raises(ValueError, match=r"gap_hours \(0.0\) must be above 0"):
        mychats.MyChatsConfig(source=("x",), gap_hours=0.0)
    assert issubclass(mychats.MyChatsConfig, PrepareConfig)
    with pytest.raises(InputError, match="no such file or folder"):
        sources_at("nowhere")


NUMBERS = """\
31/12/2021, 23:50 - +49 170 1234567: who is in?
31/12/2021, 23:51 - Ann: me
31/12/2021, 23:52 - +1 (555) 010-4477: and me
31/12/2021, 23:53 - +49 170 1234567: good
"""


def test_nothing_private_is_in_the_files(tmp_path):
    """No number of a sender and no name of a file is in what is written; the two senders stay two."""
    put(tmp_path, **{"WhatsApp Chat with +49 170 1234567.txt": NUMBERS})
    (talk,) = prepared(tmp_path, bot="Ann", source=(str(tmp_path / "in" / "WhatsApp Chat with +49 170 1234567.txt"),))
    assert talk == [
        ("user", "Person 1: who is in?"),
        ("assistant", "me"),
        ("user", "Person 2: and me"),
        ("user", "Person 1: good"),
    ]
    meta = (tmp_path / "out" / "meta.json").read_text(encoding="utf-8")
    assert "1234567" not in meta and "WhatsApp" not in meta
    (talk,) = prepared(tmp_path, bot="Ann", keep_private=True)
    assert talk[0] == ("user", "+49 170 1234567: who is in?")


def test_a_reason_quotes_nothing_private(tmp_path):
    """What was skipped is counted in meta.json without the words that it quotes."""
    lines = '{"messages": [{"role": "Ann Lee", "content": "x"}, {"role": "user", "content": "hi"}, '
    put(tmp_path, rows=lines + '{"role": "assistant", "content": "yo"}]}\n')
    prepared(tmp_path, bot=None)
    meta = (tmp_path / "out" / "meta.json").read_text(encoding="utf-8")
    assert "Ann" not in meta and "message by role '...'" in meta


def test_one_bad_byte_is_one_bad_line(tmp_path, capsys):
    """It is named with its line and a remedy; with --skip_errors the rest is kept, that line as Windows wrote it."""
    put(tmp_path)
    lines = [f"31/12/2021, 2{i // 600}:{i // 10 % 60:02} - {('Ann', 'Ben')[i % 2]}: line {i}\n" for i in range(2000)]
    data = "".join(lines).encode().replace(b"line 1234\n", b"caf\xe9 1234\n")
    (tmp_path / "in" / "chat").write_bytes(data)
    with pytest.raises(InputError, match="chat:1235: not utf-8 text .* save it anew as UTF-8 .*--skip_errors"):
        prepared(tmp_path, bot="Ann")
    said = "\n".join(text for talk in prepared(tmp_path, bot="Ann", skip_errors=True) for _, text in talk)
    assert said.count("line ") == 1999 and "café 1234" in said
    assert "skipped 1: broken: not utf-8 text" in capsys.readouterr().out

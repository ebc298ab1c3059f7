"""
Nobody is given another's words: what is pasted or quoted makes no speaker, logs of other programs are not taken for
chats, parts of a chat come in the order of time and once, and one person may have several names.
"""

import io
import json

import pytest

from readers import detect, imessage, signal, slack, whatsapp
from readers.archives import sources_at
from readers.conversations import split_at_silences
from readers.source import LogMessage, Skipped, Source
from runtime.errors import InputError


def source(text, name="chat.txt"):
    return Source(name, lambda: io.BytesIO(text.encode()))


def spoken(reader, text):
    return [(message.speaker, message.text) for message in reader.messages(source(text), Skipped())]


def talks(folder, bots, skipped=None, gap_hours=8.0):
    """The records of a folder, each as a list of (role, text)."""
    skipped = Skipped() if skipped is None else skipped
    records = detect.records(detect.recognise(sources_at(folder), skipped), bots, gap_hours, skipped)
    return [[(message["role"], message["content"]) for message in record["messages"]] for record in records]


# ----------------------------------------------------------------------------------------------- pasted and quoted


def test_only_a_line_behind_crlf_begins_a_message_where_the_file_has_both():
    """iOS ends lines within a message with LF: a chat that somebody pasted makes no speakers, dressed alike or not."""
    text = (
        "[03/05/2022, 08:00:00] Eva: read this\n[02/05/2022, 22:00:00] Finn: we are done\n"
        "[02/05/2022, 22:01:00] Gil: good\r\n[03/05/2022, 08:01:00] Hal: oh no\r\n"
        "[03/05/2022, 08:02:00] Eva: yes\n\nyes\r\n"
    )
    assert [who for who, _ in spoken(whatsapp, text)] == ["Eva", "Hal", "Eva"]
    assert spoken(whatsapp, text)[0][1].count("\n") == 2


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_with_one_kind_of_line_ends_is_read_by_its_headers(ends):
    """Where all lines end alike, line ends tell nothing, and a message of two lines stays one."""
    text = "[03/05/2022, 08:00:00] Eva: a\nb\n[03/05/2022, 08:01:00] Hal: c\n".replace("\n", ends)
    assert spoken(whatsapp, text) == [("Eva", "a\nb"), ("Hal", "c")]


@pytest.mark.parametrize(
    "own, pasted",
    [
        ("13/05/2022, 08:00 - ", "12.05.22, 22:00 - "),  # another mark
        ("13/05/2022, 08:00 - ", "12/05/22, 22:00 - "),  # fewer digits of the year
        ("13/05/2022, 08:00 - ", "12/5/2022, 22:00 - "),  # no zero before the month
        ("5/13/22, 8:00 AM - ", "05/12/22, 10:00 PM - "),  # a zero
        ("13/05/2022, 08:00 - ", "12/05/2022, 22:00:10 - "),  # seconds
        ("13/05/2022, 08:00 - ", "12/05/2022 22:00 - "),  # no comma
        ("13/05/2022, 08:00 - ", "12/05/2022, 10:00 PM - "),  # another clock
        ("[13.05.22, 08:00:00] ", "[12.05.2022, 22:00:00] "),
    ],
)
def test_what_is_dressed_otherwise_than_the_file_was_pasted(own, pasted):
    """A line that begins in another style than the file's messages belongs to the message above it."""
    text = f"{own}Eva: look\n{pasted}Finn: bye\n{own}Hal: hm\n{own}Eva: right\n{own}Hal: ok\n"
    assert [who for who, _ in spoken(whatsapp, text)] == ["Eva", "Hal", "Eva", "Hal"]


def test_two_exports_in_one_file_are_both_read():
    """Where half of a file has another style, it was joined from two."""
    text = "13/05/2022, 08:00 - Eva: a\n13/05/2022, 08:01 - Hal: b\n[14.05.22, 08:00:00] Eva: c\n"
    joined = text.replace("[14.05.22, 08:00:00] ", "14/05/22, 08:00 - ") + "14/05/22, 08:01 - Hal: d\n"
    assert [said for _, said in spoken(whatsapp, joined)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "name", ["「旅: 京都」", "『旅: 京都』", "‘Trip: Rome’", "“Trip: Rome”", "«Trip: Rome»", "《旅: 一》"]
)
def test_a_group_name_with_a_colon_is_no_person(name):
    """In the quotation marks of any language."""
    line = "2022/05/13 08:00 - "
    assert spoken(whatsapp, f"{line}Eva created group {name}.\n{line}Eva’s mum: it’s on\n") == [
        ("Eva’s mum", "it’s on")
    ]


REPLY = """\
May 13, 2022  8:00:00 AM
Eva
what shall I bring?
    May 13, 2022  8:01:00 AM
    Me
    bread
and olives
and wine

May 13, 2022  8:01:00 AM
Me
bread
and olives
and wine
This message responded to an earlier message.

"""


def test_a_quoted_reply_of_several_lines_is_only_its_writers():
    """Whether all of its lines are indented below what it answers, or only the first."""
    new = REPLY.replace("bread\nand olives\nand wine\n\n", "bread\n    and olives\n    and wine\n\n", 1)
    for text in (REPLY, new):
        assert spoken(imessage, text) == [("Eva", "what shall I bring?"), ("Me", "bread\nand olives\nand wine")]


def test_reactions_and_notices_of_imessage_are_not_words():
    """Lists of reactions, indented or not, stickers, files and what the phone says."""
    text = REPLY.partition("    May")[0]
    odd = [
        "Reactions:\nLoved by Me\nLaughed by Finn",
        "Tapbacks:\n    Emphasized by Me",
        "Outline Sticker from Eva: 01.heic",
        "IMG_0001.HEIC",
        "Unable to format app message: x",
        "Started sharing location!",
        "SharePlay Message\nEnded",
    ]
    for lines in odd:
        assert spoken(imessage, f"{text}{lines}\n\n") == [("Eva", "what shall I bring?")], lines
    assert spoken(imessage, f"{text}they ended\nLoved by all\n\n")[0][1].endswith("they ended\nLoved by all")


@pytest.mark.parametrize(
    "said, words",
    [
        ("look  \n(- Me: 👍, Eva: 😂 -)![a.jpg](./media/a.jpg)  \n", "look"),
        ("(media not exported)  \n", None),
        ("see (attachment not exported)  \n", "see"),
        ("look  \n(- Me: 👍 -)(media not exported)  \n", "look"),
    ],
)
def test_what_signal_export_writes_beside_words_is_counted(said, words):
    """Reactions before attachments, and what stands in place of media."""
    text = f"[2022-05-13 08:00:00] Eva: {said}\n[2022-05-13 08:01:00] Me: ok  \n"
    assert spoken(signal, text) == ([("Eva", words)] if words else []) + [("Me", "ok")]


@pytest.mark.parametrize("line", ["[2022-05-13 08:00:{:02}] <{}> note: {}", "[2022-05-13 08:00:{:02}] <{}> {}"])
def test_the_log_of_an_irc_client_is_not_whatsapps(line):
    """Its lines have dates in brackets too, but nobody's name stands before the colon."""
    text = "\n".join(line.format(i, ("eva", "hal")[i % 2], f"word {i}") for i in range(50))
    assert not whatsapp.recognises(text)


# ---------------------------------------------------------------------------------------------- order, parts, names


def discord(messages):
    return json.dumps(
        {
            "guild": {"id": "1", "name": "G"},
            "channel": {"id": "2", "type": "GuildTextChat", "name": "general"},
            "messages": [
                {
                    "id": str(n),
                    "type": "Default",
                    "timestamp": time,
                    "content": text,
                    "author": {"id": who, "name": who},
                }
                for n, who, time, text in messages
            ],
        }
    )


EARLY = [(n, ("eva", "hal")[n % 2], f"2022-05-13T08:0{n}:00+00:00", f"early {n}") for n in range(4)]
LATE = [(n + 9, ("eva", "hal")[n % 2], f"2022-08-13T08:0{n}:00+00:00", f"late {n}") for n in range(4)]


def test_parts_of_a_channel_are_read_by_time(tmp_path):
    """Whatever their names sort like."""
    (tmp_path / "general.json").write_text(discord(EARLY), encoding="utf-8")
    (tmp_path / "general [part 2].json").write_text(discord(LATE), encoding="utf-8")
    first, second = talks(tmp_path, ["eva"])
    assert first[0][1] == "early 0" and second[0][1] == "late 0"


def test_a_step_back_in_time_is_a_break():
    """Two talks that stand in the wrong order are not one."""
    messages = [LogMessage(who, text, time) for who, text, time in [("a", "x", 9e6), ("b", "y", 9e6), ("a", "z", 1e6)]]
    records = list(split_at_silences([*messages, LogMessage("b", "w", 1e6)], ["a"], 8.0, Skipped()))
    assert [len(record["messages"]) for record in records] == [2, 2]


def test_what_two_exports_of_a_chat_have_in_common_is_said_once(tmp_path):
    """Of a channel, and of WhatsApp's files that do not name their chat; an "ok" said twice in one file stays."""
    (tmp_path / "old.json").write_text(discord(EARLY[:3]), encoding="utf-8")
    (tmp_path / "new.json").write_text(discord(EARLY[1:]), encoding="utf-8")
    lines = [f"13/05/2022, 08:0{i // 2} - {('Eva', 'Hal')[i % 2]}: {text}\n" for i, text in enumerate("abccdefghi")]
    lines.insert(4, lines[3])
    (tmp_path / "old.txt").write_text("".join(lines[:7]), encoding="utf-8")
    (tmp_path / "old (1).txt").write_text("".join(lines), encoding="utf-8")
    skipped = Skipped()
    wa, dc = sorted(talks(tmp_path, ["Eva", "eva"], skipped), key=len, reverse=True)
    assert [text for _, text in dc] == [text for *_, text in EARLY]
    assert [text for _, text in wa] == [line.rpartition(": ")[2].strip() for line in lines]
    assert skipped["message that another export of the chat has too"] == 2 + 7


def test_chats_with_different_people_stay_apart(tmp_path):
    """An "ok" in the same minute of two chats does not make them one."""
    for name, said in (("a", "hi"), ("b", "yo")):
        text = f"13/05/2022, 08:00 - Eva: ok\n13/05/2022, 08:01 - {said}: {said}\n"
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    assert len(talks(tmp_path, ["Eva"])) == 2


def test_one_person_with_several_names_is_one_bot(tmp_path):
    """--bot once for each name; what the bot is not in is told so, with its place; an unknown name is an error."""
    (tmp_path / "wa.txt").write_text(
        "13/05/2022, 08:00 - Eva Lind: hi\n13/05/2022, 08:01 - Hal: yo\n", encoding="utf-8"
    )
    lines = [{"date": "2022-05-13T08:00:00", "sender": who, "body": who, "attachments": []} for who in ("Me", "Hal")]
    (tmp_path / "data.json").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert len(talks(tmp_path, ["Eva Lind", "Me"])) == 2
    skipped = Skipped()
    assert len(talks(tmp_path, ["Me"], skipped)) == 1
    assert skipped.places["talk: the bot is not in it"] == [f"{(tmp_path / 'wa.txt').as_posix()}:1"]
    with pytest.raises(InputError, match="--bot=Eve: nobody is called so"):
        talks(tmp_path, ["Me", "Eve"])


def test_a_slack_thread_is_a_conversation(tmp_path):
    """Its messages, days apart, do not stand among the channel's, and no silence ends it."""

    def message(user, at, text, thread=None):
        more = {"thread_ts": f"{thread}.000100"} if thread else {}
        return {"type": "message", "user": user, "text": text, "ts": f"{at}.000100", **more}

    day, start = 86_400, 1_650_000_000
    days = [
        [
            message("eva", start, "who has the key?", start),
            message("hal", start + 1, "lunch?"),
            message("eva", start + 2, "yes"),
        ],
        [message("hal", start + day, "I do", start), message("eva", start + day + 9, "thanks", start)],
    ]
    (tmp_path / "general").mkdir()
    for number, messages in enumerate(days):
        (tmp_path / "general" / f"{number}.json").write_text(json.dumps(messages), encoding="utf-8")
    assert sorted(talks(tmp_path, ["eva"]), key=len) == [
        [("user", "lunch?"), ("assistant", "yes")],
        [("assistant", "who has the key?"), ("user", "I do"), ("assistant", "thanks")],
    ]


def test_a_slack_file_without_text_is_counted():
    """ "text" may be missing, null or empty."""
    for text in ({}, {"text": None}, {"text": ""}):
        item = {"type": "message", "user": "U1", "ts": "1650000000.000100", "files": [{"id": "F1"}], **text}
        skipped = Skipped()
        assert not list(slack.messages(source(json.dumps([item])), skipped)) and skipped == {"file without text": 1}

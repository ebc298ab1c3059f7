"""
The layouts in which people have their chats: one talk, written in each of them as its program writes it, comes out with
the same words by the same people at the same times; and no bytes whatever end in a traceback.
"""

import datetime
import io
import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readers import detect
from readers.source import Skipped, Source
from runtime.errors import InputError


def source(text, name="folder/chat"):
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return Source(name, lambda: io.BytesIO(data))


def read(text, skipped=None):
    """(name of the reader, [(speaker, text)], [time]) of a file that a reader of logs recognises."""
    ((reader, sources),) = detect.recognise([source(text)], Skipped())
    messages = list(reader.messages(sources[0], Skipped() if skipped is None else skipped))
    return reader.NAME, [(message.speaker, message.text) for message in messages], [m.time for m in messages]


def at(minute, second=0):
    return datetime.datetime(2021, 12, 31, 10, minute, second, tzinfo=datetime.timezone.utc).timestamp()


def export(name):
    """A file of exports/, which has the talk as a program writes it."""
    return (Path(__file__).parent / "exports" / name).read_text(encoding="utf-8")


MS = int(at(0)) * 1000
FACEBOOK = export("messenger.json")
ENCRYPTED = json.dumps(
    {
        "participants": ["Ann", "Zoë"],
        "threadName": "Ann_1",
        "messages": [
            {"senderName": "Zoë", "text": "schön 😂", "timestamp": MS + 60_000, "type": "text", "isUnsent": False},
            {"senderName": "Ann", "text": "hi", "timestamp": MS, "type": "text", "isUnsent": False, "media": []},
        ],
    }
)
GOOGLE_CHAT = json.dumps(
    {
        "messages": [
            {
                "creator": {"name": who, "email": "x@example.com", "user_type": "Human"},
                "created_date": f"Friday, December 31, 2021 at 10:0{minute}:00\u202fAM UTC",
                "text": text,
            }
            for minute, who, text in ((0, "Ann", "hi"), (1, "Zoë", "schön 😂"))
        ]
    }
)
HANGOUTS = json.dumps(
    {
        "conversations": [
            {
                "conversation": {
                    "conversation_id": {"id": "c"},
                    "conversation": {
                        "participant_data": [
                            {"id": {"gaia_id": "1", "chat_id": "1"}, "fallback_name": "Ann"},
                            {"id": {"gaia_id": "2", "chat_id": "2"}, "fallback_name": "Zoë"},
                        ]
                    },
                },
                "events": [
                    {
                        "sender_id": {"gaia_id": who},
                        "timestamp": str((MS + minute * 60_000) * 1000),
                        "chat_message": {"message_content": {"segment": [{"type": "TEXT", "text": text}]}},
                    }
                    for minute, who, text in ((1, "2", "schön 😂"), (0, "1", "hi"))
                ],
            }
        ]
    }
)
SKYPE = json.dumps(
    {
        "userId": "live:zoe",
        "exportDate": "2022-01-01T00:00",
        "conversations": [
            {
                "id": "8:ann",
                "displayName": "Ann",
                "MessageList": [
                    {
                        "originalarrivaltime": "2021-12-31T10:02:00Z",
                        "from": "8:ann",
                        "messagetype": "Event/Call",
                        "content": "x",
                    },
                    {
                        "originalarrivaltime": "2021-12-31T10:01:00.5Z",
                        "from": "8:live:zoe",
                        "displayName": "Zoë",
                        "messagetype": "RichText",
                        "content": "<quote>hi</quote>schön <ss>😂</ss>",
                    },
                    {
                        "originalarrivaltime": "2021-12-31T10:00:00Z",
                        "from": "8:ann",
                        "messagetype": "Text",
                        "content": "hi",
                    },
                ],
            }
        ],
    }
)
MATRIX = json.dumps(
    {
        "room_name": "friends",
        "messages": [
            {
                "type": "m.room.member",
                "sender": "@Ann:x.org",
                "origin_server_ts": MS,
                "content": {"membership": "join"},
            },
            {
                "type": "m.room.message",
                "sender": "@Ann:x.org",
                "origin_server_ts": MS,
                "content": {"msgtype": "m.text", "body": "hi"},
            },
            {
                "type": "m.room.message",
                "sender": "@Zoë:x.org",
                "origin_server_ts": MS + 60_000,
                "content": {"msgtype": "m.text", "body": "> <@Ann:x.org> hi\n\nschön 😂"},
            },
        ],
    }
)
SMS = export("sms.xml")
IMAZING = export("imazing.csv")
EXCEL = export("excel.csv")
LINE = export("line.txt")
LINE_JA = export("line_japanese.txt")
KAKAO_PC = export("kakaotalk_computer.txt")
KAKAO_PHONE = export("kakaotalk_phone.txt")
KAKAO_EN = export("kakaotalk_english.txt")
TELEGRAM_HTML = export("telegram.html")
DISCORD_HTML = export("discord.html")
SIGTOP = export("sigtop.txt")
IRC = {name: export(f"irc_{name}.txt") for name in ("brackets", "irssi", "hexchat", "weechat", "dircproxy")}
TALK = [("Ann", "hi"), ("Zoë", "schön 😂")]
# layout -> (file, its speakers if the second is not called Zoë)
LOGS = {
    "Messenger": (FACEBOOK, "Zoë"),
    "Messenger, encrypted": (ENCRYPTED, "Zoë"),
    "Google Chat": (GOOGLE_CHAT, "Zoë"),
    "Hangouts": (HANGOUTS, "Zoë"),
    "Hangouts until 2018": (export("hangouts_old.json"), "Zoë"),
    "Skype": (SKYPE, "Zoë"),
    "Matrix": (MATRIX, "Zoë"),
    "SMS": (SMS, "Me"),
    "iMazing": (IMAZING, "Me"),
    "a table of Excel": (EXCEL, "Zoë"),
    "LINE": (LINE, "Zoë"),
    "LINE, Japanese": (LINE_JA, "Zoë"),
    "LINE, computer": (export("line_computer.txt"), "Zoë"),
    "Viber": (export("viber.csv"), "Zoë"),
    "KakaoTalk, computer": (KAKAO_PC, "Zoë"),
    "KakaoTalk, phone": (KAKAO_PHONE, "Zoë"),
    "KakaoTalk, English": (KAKAO_EN, "Zoë"),
    "Telegram's pages": (TELEGRAM_HTML, "Zoë"),
    "Discord's pages": (DISCORD_HTML, "Zoë"),
    "Discord's plain text": (export("discord.txt"), "Zoë"),
    "sigtop": (SIGTOP, "Zoë"),
    **{f"IRC, {name}": (text, "Zoë") for name, text in IRC.items()},
}


@pytest.mark.parametrize("name", LOGS)
def test_one_talk_in_every_layout(name):
    """The same words by the same people, oldest first, a minute apart; what is no word is counted."""
    text, second = LOGS[name]
    skipped = Skipped()
    _, spoken, times = read(text, skipped)
    assert spoken == [("Ann", "hi"), (second, "schön 😂")]
    assert 60 <= times[1] - times[0] < 61 and times[0] == at(0)
    assert not any("broken" in reason for reason in skipped)


def test_sillytavern_is_a_finished_conversation():
    """By who is the user."""
    lines = [{"user_name": "Ann", "character_name": "Zoë", "create_date": "x"}]
    lines += [{"name": who, "is_user": who == "Ann", "mes": text} for who, text in TALK]
    ((reader, sources),) = detect.recognise([source("\n".join(map(json.dumps, lines)))], Skipped())
    (record,) = reader.records(sources[0], Skipped())
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(
    "text",
    [
        "Ann: hi\nBen: yo\nAnn: how are you?\nBen: fine\nand you?\n",
        "**Ann**: hi\n**Ben**: yo\n**Ann**: how are you?\n**Ben**: fine\nand you?\n",
        "[10:30] Ann: hi\n[10:31] Ben: yo\n[10:31] Ann: how are you?\n[10:32] Ben: fine\nand you?\n",
        "Ann：hi\nBen：yo\nAnn：how are you?\nBen：fine\nand you?\n",
    ],
)
def test_a_plain_dialogue_with_any_names(text):
    """A line without a name goes on with the one above it."""
    name, spoken, _ = read(text)
    assert spoken == [("Ann", "hi"), ("Ben", "yo"), ("Ann", "how are you?"), ("Ben", "fine\nand you?")]
    assert name.startswith("plain dialogue")


@pytest.mark.parametrize(
    "text",
    [
        "name: x\nuser: y\ntext: z\n",
        "From: Ann\nTo: Ben\nSubject: hi\n\nDear Ben,\nhow are you?\n",
        "INFO: start\nINFO: stop\nWARNING: x\nWARNING: y\n",
        "Dear user, message me.\n" + "It was a dark night: cold.\n" * 20,
        "def f(x):\n    if x: return 1\n    else: return 2\n" * 5,
        "# Title\n\nNote: this.\nNote: that.\nSee: here.\n" + "A line of prose.\n" * 9,
        '{"a": 1,\n "b": 2,\n "c": 3}\n',
        "10:00 start\n10:05 stop\n",
        "key = value\nother = thing\n",
        "<html><body><p>hi</p></body></html>",
    ],
)
def test_what_is_no_chat_is_not_read_as_one(text):
    """Settings, mails, logs of programs, prose and code have colons too."""
    with pytest.raises(InputError, match="not one of the layouts"):
        detect.recognise([source(text)], Skipped())


def test_parts_of_a_messenger_chat_come_in_order():
    """message_1.json is the newest."""
    newest = FACEBOOK
    older = FACEBOOK.replace('"hi"', '"long ago"').replace(str(MS)[:5], str(MS - 10**9)[:5])
    recognised = detect.recognise([source(newest, "a/message_1.json"), source(older, "a/message_2.json")], Skipped())
    first = next(iter(detect.records(recognised, ["Ann"], 8.0, Skipped())))
    assert first["messages"][0]["content"] == "long ago"


quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILES = [text for text, _ in LOGS.values()]


@quick
@given(data=st.data(), text=st.sampled_from(FILES))
def test_damaged_files_give_messages_or_one_error(data, text):
    """A file that is cut, or of which a piece is another's, is read as far as it goes or refused in one line."""
    i, j = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    other = data.draw(
        st.sampled_from(["", "\0", "null", "[]", "{", '"x"', "7", "\n" * 5, data.draw(st.sampled_from(FILES))[:90]])
    )
    damaged = text[:i] + other + text[j:]
    start = time.process_time()
    try:
        recognised = detect.recognise([source(damaged)], Skipped(keep_going=True))
        list(detect.records(recognised, ["Ann"], 8.0, Skipped(keep_going=True)))
    except InputError as error:
        assert "\n" not in str(error)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("value", ["null", "[]", "{}", "7", '"x"', "[null]", '[{"x": null}]'])
def test_a_value_of_another_type_is_no_traceback(value):
    """Each value of each JSON layout in turn is replaced."""
    for text in (text for text in FILES if text.startswith("{")):
        content = json.loads(text)

        def spots(node, path=()):
            if isinstance(node, dict | list):
                for key in node if isinstance(node, dict) else range(len(node)):
                    yield (*path, key)
                    yield from spots(node[key], (*path, key))

        for path in list(spots(content)):
            changed = json.loads(text)
            node = changed
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = json.loads(value)
            try:
                recognised = detect.recognise([source(json.dumps(changed))], Skipped(keep_going=True))
                list(detect.records(recognised, ["Ann"], 8.0, Skipped(keep_going=True)))
            except InputError:
                pass

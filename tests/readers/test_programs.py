"""
What files of other programs taught: each test is a kind of line or row that real exports have, in made-up words, and
who says what in it.
"""

import io
import json

import pytest

from readers import detect, pii
from readers.people import People
from readers.slack import plain
from readers.source import Skipped, Source


def read(text, skipped=None):
    """[(speaker, text)] of a file of a chat log, whose layout is recognised."""
    ((reader, sources),) = detect.recognise([Source("chat", lambda: io.BytesIO(text.encode()))], Skipped())
    return [(m.speaker, m.text) for m in reader.messages(sources[0], Skipped() if skipped is None else skipped)]


def conversations(text, skipped):
    """The conversations of a file of talk with an AI, each as texts."""
    ((reader, sources),) = detect.recognise([Source("chat", lambda: io.BytesIO(text.encode()))], Skipped())
    return [[message["content"] for message in record["messages"]] for record in reader.records(sources[0], skipped)]


# ----------------------------------------------------------------------------------------------- LINE and KakaoTalk


def test_an_unsent_message_of_line_is_in_nobodys_mouth():
    """It stands on a line with a time and no name, below what somebody said."""
    text = "2021/12/31(金)\n午前10:00\tA\tこんにちは\n午前10:01\tBがメッセージの送信を取り消しました\n24:10\tB\tはい\n"
    assert read(text) == [("A", "こんにちは"), ("B", "はい")]


def test_names_of_several_words_where_only_a_space_ends_them():
    """LINE on a computer: a name is what all the messages of somebody begin with."""
    said = ["hi", "how are you?", "me too", "bye"]
    text = "2021.12.31 Friday\n" + "".join(
        f"10:0{i} Ann Lee {word}\n10:0{i} Bo yes {i}\n" for i, word in enumerate(said)
    )
    assert read(text)[:2] == [("Ann Lee", "hi"), ("Bo yes", "0")]  # who always says yes is called so
    assert [who for who, _ in read(text + "10:09 Bo no\n")][-2:] == ["Bo", "Bo"]


def test_a_diary_is_no_chat_of_line():
    """Times and dates alone make no speakers."""
    text = "2021.12.31 Friday\n10:00 went out\n11:00 met Ann\n12:00 ate soup\n13:00 slept long\n14:00 read on\n"
    with pytest.raises(Exception, match="not one of the layouts"):
        read(text)


def test_who_comes_and_goes_in_kakaotalk_is_not_said():
    """A line of the app stands between messages; the same words after a name are somebody's."""
    text = (
        "--------------- 2026년 7월 1일 수요일 ---------------\n[가] [오전 9:00] 안녕\n나님이 들어왔습니다.\n그리고\n"
        "[나] [오전 9:01] 다님이 나갔습니다\n"
    )
    assert read(text) == [("가", "안녕\n그리고"), ("나", "다님이 나갔습니다")]


def test_a_date_that_somebody_writes_ends_no_message():
    """A date before the one of the chat is a line of a message."""
    text = "2026/7/5\n9:00\tA\tlook:\n2026/7/1\nthat day\n9:05\tB\tyes\n"
    assert read(text) == [("A", "look:\n2026/7/1\nthat day"), ("B", "yes")]


# ------------------------------------------------------------------------------------------------ Discord, IRC, Viber


def test_discords_plain_text_of_any_locale():
    """A message begins behind an empty line; a line in brackets elsewhere is text, and what stands below is no word."""
    head = "Guild: G\nChannel: c\n\n"
    text = f"{head}[31-Dec-21 10:30 AM] ann#1234\na\n[1-Jan-22 10:30 AM] not me\n\nb\n\n[1-Jan-22 10:31 AM] ben\nc\n"
    assert read(text) == [("ann#1234", "a\n[1-Jan-22 10:30 AM] not me\n\nb"), ("ben", "c")]
    skipped = Skipped()
    assert (
        read(f"{head}[13.01.2022 10:30] ann\n{{Embed}}\nx\n\n[14.01.2022 10:30] ben\nJoined the server.\n", skipped)
        == []
    )
    assert sum(skipped.values()) == 2


def test_irc_with_more_coming_and_going_than_talk():
    """Notices do not count against the talk, and what stands behind a nick, its address, is no part of the name."""
    comings = "".join(f"10:0{i} -!- ann{i} [~a@198.51.100.{i}] has joined #x\n" for i in range(9))
    text = "--- Log opened Fri Dec 31 2021\n" + comings + "10:10 <@ann!~a@198.51.100.7> hi\n10:11 <+ben> yo\n"
    assert read(text) == [("ann", "hi"), ("ben", "yo")]


def test_vibers_texts_hold_commas_and_lines():
    """Whatever stands behind the number is text; a sender without a name is a number."""
    text = '1/13/2022,10:00:00 AM,Ann,+15550100,a, "b",\nc\n1/14/2022,10:00:00 AM,,+15550101,"d ""e"""\n'
    assert read(text) == [("Ann", 'a, "b",\nc'), ("+15550101", 'd "e"')]


def test_what_people_write_in_teams_is_html():
    """It has a type of its own, and the name of who writes under another key than Skype's."""
    message = {
        "originalarrivaltime": "2021-12-31T10:00:00Z",
        "messagetype": "RichText/Html",
        "imdisplayname": "Ann Lee",
        "from": "8:orgid:1",
        "content": "<p>hi Ben,</p><p>soup &amp; bread?</p>",
    }
    chat = {"userId": "8:orgid:2", "conversations": [{"id": "19:x@thread.v2", "MessageList": [message]}]}
    assert read(json.dumps(chat)) == [("Ann Lee", "hi Ben,\nsoup & bread?")]


# ------------------------------------------------------------------------------------------------------- phones


def test_who_speaks_in_a_group_of_text_messages():
    """An MMS names all of the group as its contact; the sender is one of the addresses."""
    parts = '<parts><part ct="text/plain" text="{}" /></parts>'
    group = 'address="+15550100~+15550101" contact_name="Ann, Ben" date="1640944800000"'
    text = (
        '<smses count="3"><sms address="+15550100" contact_name="Ann" date="1640944800000" type="1" body="hi" />\n'
        f'<mms {group} msg_box="1">{parts.format("all?")}<addrs><addr address="+15550100" type="137" /></addrs></mms>\n'
        f'<mms {group} msg_box="1">{parts.format("me")}<addrs><addr address="+15550101" type="137" /></addrs></mms>\n'
        f'<mms {group} msg_box="2">{parts.format("ok")}<addrs><addr address="+15550199" type="137" /></addrs></mms>\n'
        "</smses>"
    )
    assert read(text) == [("Ann", "hi"), ("Ann", "all?"), ("+15550101", "me"), ("Me", "ok")]


def test_a_number_is_one_person_however_it_is_written():
    """With a country's code, without it or with a 0: one person, in one chat."""
    text = "<smses>" + "".join(
        f'<sms address="{address}" date="164094480{i}000" type="{i % 2 + 1}" body="{i}" />\n'
        for i, address in enumerate(("+49 170 1234567", "0170 1234567", "+491701234567"))
    )
    ((reader, sources),) = detect.recognise([Source("chat", lambda: io.BytesIO(text.encode()))], Skipped())
    messages = list(reader.messages(sources[0], Skipped()))
    assert [m.speaker for m in messages] == ["+49 170 1234567", "Me", "+49 170 1234567"]
    assert len({m.chat for m in messages}) == 1


def test_a_row_in_which_nobody_speaks_is_no_broken_one():
    """iMazing has notices of the app among the messages."""
    rows = "Ann,Incoming,Ann,hi\nAnn,Notification,,Ann named the chat\nAnn,Outgoing,,yo\n"
    assert read("Chat Session,Type,Sender Name,Text\n" + rows) == [("Ann", "hi"), ("Me", "yo")]


def test_type_1_of_android_was_received():
    """In a table without names, only words and is_... columns say that the phone's owner sent a message."""
    assert read("name,address,type,body\n,+15550100,1,hi\n,+15550100,Outgoing,yo\n") == [
        ("+15550100", "hi"),
        ("Me", "yo"),
    ]


def test_a_line_within_a_message_of_signal_that_begins_with_from():
    """sigtop puts an empty line between messages."""
    text = (
        "Conversation: Ann\n\nFrom: Ann\nType: incoming\nSent: Fri, 31 Dec 2021 10:00:00 +0000\n\na mail:\nFrom: Ben\n"
    )
    assert read(text) == [("Ann", "a mail:\nFrom: Ben")]


# -------------------------------------------------------------------------------------------------- plain text, names


def test_who_speaks_late_in_a_long_dialogue_is_a_person():
    """Names are those of the whole file, not of its beginning; a word before a colon that stands there once is none."""
    talk = "Ann: how are you today?\nBen: very well, thank you\n" * 2000
    text = talk + "Cleo: hello\nThe point is: none\nAnn: hi\nCleo: bye\n" + "Cleo: bye\n" * 3
    assert read(text)[-6:-3] == [("Cleo", "hello\nThe point is: none"), ("Ann", "hi"), ("Cleo", "bye")]


def test_an_id_behind_a_name_is_in_no_text():
    """The second Ann of a workspace has her id behind her name, where she is mentioned and where she speaks."""
    people = People()
    for user_id in ("U0A1B2C3D", "U0A1B2C3E"):
        people.named(user_id, "Ann")
    assert plain("<@U0A1B2C3E> and <@U0A1B2C3F|ben>", people) == "Ann and ben"
    people.named("U0A1B2C3G")
    assert plain("<@U0A1B2C3G>", people) == "somebody"
    stand_ins = pii.StandIns()
    assert [
        stand_ins[name] for name in ("Ann (live:ann.lee)", "Ann (@ann:matrix.example)", "Ann (she/her)", "Ann")
    ] == [
        "Person 1",
        "Person 2",
        "Ann (she/her)",
        "Ann",
    ]


# --------------------------------------------------------------------------------------------------- talk with an AI


def test_messages_that_were_hidden_in_sillytavern_are_talk():
    """is_system marks what the program says, and what the user hid from the model: that was said all the same."""
    rows = [
        {"name": "Robin", "is_user": False, "is_system": True, "mes": "welcome"},
        {"name": "Ann", "is_user": True, "is_system": True, "mes": "hi"},
        {"name": "SillyTavern System", "is_user": False, "is_system": True, "mes": "help"},
        {"name": "Robin", "is_user": False, "is_system": True, "extra": {"type": "comment"}, "mes": "a note"},
        {"name": "Robin", "is_user": False, "is_system": False, "mes": "bye"},
    ]
    skipped = Skipped()
    assert conversations("\n".join(map(json.dumps, rows)), skipped) == [["welcome", "hi", "bye"]]
    assert skipped == {"system line": 2}


def test_questions_of_one_conversation_of_gemini():
    """Its address tells, however long they are apart; what was made or rated is no question."""

    def activity(title, time, address=None):
        details = [{"name": "x", "url": f"https://gemini.google.com/app/{address}"}] if address else []
        answer = [{"html": f"<p>to {title}</p>"}]
        return {"header": "Gemini Apps", "title": title, "time": time, "details": details, "safeHtmlItem": answer}

    newest_first = [
        activity("Prompted e", "2025-01-01T15:00:00Z"),
        activity("Prompted d", "2025-01-01T12:01:00Z", "b2"),
        activity("Branched c", "2025-01-01T12:00:00Z", "a1"),
        activity("Created a picture", "2025-01-01T11:00:00Z", "a1"),
        activity("Prompted a", "2025-01-01T10:00:00Z", "a1"),
    ]
    skipped = Skipped()
    talks = conversations(json.dumps(newest_first), skipped)
    assert [talk[::2] for talk in talks] == [["a", "c"], ["d"], ["e"]]
    assert sum(skipped.values()) == 1

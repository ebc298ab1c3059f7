"""
WhatsApp's own words, clocks and calendars are told from people's in its languages; a file's dates are read one way.
"""

import datetime
import io

import pytest
from conftest import ROOT

from readers import table, whatsapp
from readers.calendars import seconds_at
from readers.source import Skipped, Source
from readers.whatsapp_words import phrases


def source(text):
    return Source("chat", lambda: io.BytesIO(text.encode()))


def read(text, reader=whatsapp):
    skipped = Skipped()
    return list(reader.messages(source(text), skipped)), skipped


def when(message):
    return datetime.datetime.fromtimestamp(message.time, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M")


def test_media_of_every_language_of_whatsapp_is_left_out():
    """Each phrase of the file, as Android writes it, with a space in the brackets or without; 100 of them at least."""
    media = [text for text, reason in phrases().reasons.items() if reason == "media" and text.endswith(">")]
    assert len(media) >= 100
    for text in media:
        for written in (text, text.upper() if text.isascii() else text, text.replace("<", "< ").replace(">", " >")):
            assert phrases().words_of(written, by_ios=False) == ("", "media"), written


@pytest.mark.parametrize(
    "text",
    ["<ছবি নেই এখানে>", "<Ingen vedlagte filer>", "<Miði ekki með>"],
)
def test_a_placeholder_of_no_known_language_is_seen_by_its_repetition(text):
    """What two people say in angle brackets three times is the phone's; once, it is somebody's joke."""
    lines = "".join(f"31/12/2021, 23:5{i} - {who}: {text}\n" for i, who in enumerate(["Ann", "Ben", "Ann"]))
    messages, skipped = read(lines + "31/12/2021, 23:59 - Ben: ok\n")
    assert [message.text for message in messages] == ["ok"] and skipped == {"media": 3}
    assert len(read(f"31/12/2021, 23:59 - Ben: {text}\n31/12/2021, 23:59 - Ben: ok\n")[0]) == 2


@pytest.mark.parametrize(
    "notice",
    [
        "Сообщения и звонки защищены сквозным шифрованием.",
        "Wiadomości i połączenia są szyfrowane metodą end-to-end.",
        "Mesajlar ve aramalar uçtan uca şifrelidir.",
        "メッセージと通話はエンドツーエンドで暗号化されています。",
        "메시지와 통화는 종단간 암호화됩니다.",
        "ההודעות והשיחות מוצפנות מקצה לקצה.",
    ],
)
def test_that_a_chat_is_encrypted_is_said_by_nobody(notice):
    """Old exports and other programs have no mark before the notice."""
    messages, skipped = read(f"31/12/2021, 23:50 - Ann: {notice}\n31/12/2021, 23:59 - Ben: ok\n")
    assert [message.text for message in messages] == ["ok"] and skipped == {"system line": 1}


@pytest.mark.parametrize(
    "text",
    [
        "This message was deleted by admin Ann Lee.",
        "Diese Nachricht wurde von Admin Ben gelöscht",
        "このメッセージは削除されました。",
        "Tato zpráva byla smazána",
        "この",
    ],
)
def test_a_deleted_message_says_nothing(text):
    """By whomever it was deleted; a word of the phrase alone is a word."""
    messages, skipped = read(f"31/12/2021, 23:59 - Ann: {text}\n31/12/2021, 23:59 - Ben: ok\n")
    assert [message.text for message in messages] == ([] if len(text) > 3 else [text]) + ["ok"]
    assert skipped == ({"deleted message": 1} if len(text) > 3 else {})


@pytest.mark.parametrize(
    "morning, evening",
    [
        ("дп", "пп"),
        ("пр.об.", "сл.об."),
        ("dop.", "odp."),
        ("पूर्वाह्न", "अपराह्न"),
        ("म.पू.", "म.उ."),
        ("முற்பகல்", "பிற்பகல்"),
        ("PG", "PTG"),
        ("לפנה״צ", "אחה״צ"),
        ("ก่อนเที่ยง", "หลังเที่ยง"),
        ("SA", "CH"),
        ("ق.ظ", "ب.ظ"),
        ("π.μ.", "μ.μ."),
        ("a. m.", "p. m."),
        ("上午", "下午"),
    ],
)
def test_the_halves_of_the_day(morning, evening):
    """In the words of many languages, before or after the time."""
    for form in ("31/12/2021, {time} {half} - ", "31/12/2021, {half} {time} - "):
        text = (
            form.format(time="11:05", half=morning) + "Ann: a\n" + form.format(time="11:05", half=evening) + "Ben: b\n"
        )
        assert whatsapp.recognises(text)
        assert [when(message)[-5:] for message in read(text)[0]] == ["11:05", "23:05"]


@pytest.mark.parametrize(
    "date, expected",
    [
        ((1400, 1, 1), (2021, 3, 21)),
        ((1399, 12, 30), (2021, 3, 20)),  # of a leap year
        ((1404, 1, 1), (2025, 3, 21)),
        ((1443, 1, 1), (2021, 8, 10)),
        ((2564, 12, 31), (2021, 12, 31)),
        ((64, 12, 31), (2021, 12, 31)),
        ((21, 2, 28), (2021, 2, 28)),
    ],
)
def test_calendars(date, expected):
    """Persian, Islamic and Buddhist dates, from almanacs."""
    assert seconds_at(*date) == datetime.datetime(*expected, tzinfo=datetime.timezone.utc).timestamp()


@pytest.mark.parametrize(
    "date", [(1400, 7, 31), (1400, 12, 30), (1400, 13, 1), (2021, 2, 29), (1443, 1, 31), (1400, 1, 0)]
)
def test_what_is_no_date_in_its_calendar(date):
    """The seventh Persian month has 30 days, the last 29 but in leap years."""
    with pytest.raises(ValueError):
        seconds_at(*date)


def test_chats_of_other_calendars_and_layouts():
    """A Persian iPhone, a Thai phone, a Korean one, and what iOS wrote before 2016."""
    text = "[۱۴۰۰/۲/۳۱،‏ ۲۳:۰۵:۰۰] Ann: a\n[۱۴۰۰/۳/۱،‏ ۰۰:۰۶:۰۰] Ben: b\n"
    assert [when(message) for message in read(text)[0]] == ["2021-05-21 23:05", "2021-05-22 00:06"]
    text = "31/12/2564 23:05 - Ann: a\n1/1/2565 00:06 - Ben: b\n"
    assert [when(message) for message in read(text)[0]] == ["2021-12-31 23:05", "2022-01-01 00:06"]
    text = "2021년 12월 31일 오후 11:05 - Ann: a\n2022년 1월 1일 오전 12:06 - Ben: b\n"
    assert [when(message) for message in read(text)[0]] == ["2021-12-31 23:05", "2022-01-01 00:06"]
    text = "31/12/13 23:05:00: Ann: see: this\n01/01/14 00:06:00: Ben: b\nc\n"
    assert [(when(m), m.text) for m in read(text)[0]] == [
        ("2013-12-31 23:05", "see: this"),
        ("2014-01-01 00:06", "b\nc"),
    ]
    for known in (text,):
        assert whatsapp.recognises(known)


@pytest.mark.parametrize(
    "times, days, note",
    [
        (["1/2/2022 10:30", "1/13/2022 10:31", "2/1/2022 9:00"], ["01-02", "01-13", "02-01"], "month first"),
        (["1/2/2022 10:30", "13/2/2022 10:31"], ["02-01", "02-13"], "day first"),
        (["3/1/2022 10:30", "3/2/2022 10:31", "4/1/2022 9:00"], ["03-01", "03-02", "04-01"], "month first"),
        (["1/2/2022 10:30"], ["02-01"], "day first, nothing in the file tells"),
        (["1/2/2022 10:30 PM"], ["01-02"], "month first"),
    ],
)
def test_the_dates_of_a_table_have_one_order(times, days, note):
    """Decided for the whole column, and told."""
    messages, skipped = read("speaker,text,time\n" + "".join(f"Ann,hi,{time}\n" for time in times), table)
    assert [when(message)[5:10] for message in messages] == days
    assert skipped == {f"not left out: dates taken as {note}": 1}


def test_the_file_of_phrases_says_how_to_add_a_language():
    """A translator finds the headings and what they are for."""
    text = (ROOT / "assets" / "whatsapp.txt").read_text(encoding="utf-8")
    assert text.startswith("# What WhatsApp itself writes") and "To add a language" in text

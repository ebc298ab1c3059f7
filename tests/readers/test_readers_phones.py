"""
What the readers of phone chats (WhatsApp, Telegram, iMessage, Signal) promise: who said what and when comes back as it
was written, in every locale; what is left out is counted; no input ends in a traceback.
"""

import datetime
import io
import json
import re

import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from readers import imessage, signal, telegram, whatsapp
from readers.source import LogMessage, Skipped, Source
from readers.whatsapp_words import Phrases
from runtime.errors import InputError

READERS = [whatsapp, telegram, imessage, signal]
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def source(text, name="chat.txt", siblings=None):
    data = text if isinstance(text, bytes) else text.encode()
    return Source(name, lambda: io.BytesIO(data), siblings)


def read(reader, text, keep_going=False):
    skipped = Skipped(keep_going)
    return list(reader.messages(source(text), skipped)), skipped


def spoken(messages):
    return [(message.speaker, message.text) for message in messages]


def seconds(*when):
    return datetime.datetime(*when, tzinfo=datetime.timezone.utc).timestamp()


# WhatsApp: locale -> how it writes a time before the name (strftime, with %-d for a day without zero)


def clock(when, form):
    hour = when.hour % 12 or 12
    for sign, value in {"{h}": hour, "{d}": when.day, "{m}": when.month, "{H}": when.hour}.items():
        form = form.replace(sign, str(value))
    half = "pm" if when.hour >= 12 else "am"
    form = form.replace("{AM}", half.upper()).replace("{am}", half).replace("{a.m.}", f"{half[0]}.m.")
    form = form.replace("{a. m.}", f"{half[0]}.\u00a0m.").replace("{ko}", "오후" if half == "pm" else "오전")
    form = form.replace("{ar}", "م" if half == "pm" else "ص")
    return when.strftime(form)


ANDROID = {
    "en-US": "{m}/{d}/%y, {h}:%M\u202f{AM} - ",
    "en-US, older": "{m}/{d}/%y, {h}:%M {AM} - ",
    "en-GB": "%d/%m/%Y, %H:%M - ",
    "en-IN": "%d/%m/%y, {h}:%M {am} - ",
    "en-CA": "%Y-%m-%d, {h}:%M\u202f{a.m.} - ",
    "en-ZA": "%Y/%m/%d, %H:%M - ",
    "de": "%d.%m.%y, %H:%M - ",
    "fr": "%d/%m/%Y, %H:%M - ",
    "fr, older": "%d/%m/%Y à %H:%M - ",
    "fr-CA": "%Y-%m-%d %H h %M - ",
    "es": "{d}/{m}/%y, {H}:%M - ",
    "es-MX": "%d/%m/%Y {h}:%M {a. m.} - ",
    "pt-BR": "%d/%m/%Y %H:%M - ",
    "it": "%d/%m/%y, %H:%M - ",
    "nl": "%d-%m-%Y %H:%M - ",
    "sv": "%Y-%m-%d %H:%M - ",
    "sv, older": "%Y-%m-%d kl. %H:%M - ",
    "da": "%d.%m.%Y %H.%M - ",
    "fi": "{d}.{m}.%Y klo {H}.%M - ",
    "hu": "%Y. %m. %d. {H}:%M - ",
    "bg": "{d}.%m.%y г., {H}:%M - ",
}
IOS = {
    "en-US": "[{m}/{d}/%y, {h}:%M:%S\u202f{AM}] ",
    "en-GB": "[%d/%m/%Y, %H:%M:%S] ",
    "de": "[%d.%m.%y, %H:%M:%S] ",
    "fr": "[%d/%m/%Y %H:%M:%S] ",
    "es": "[{d}/{m}/%y, {H}:%M:%S] ",
    "es-MX": "[%d/%m/%y, {h}:%M:%S {a.m.}] ",
    "pt-BR": "[%d/%m/%Y, %H:%M:%S] ",
    "it": "[%d/%m/%y, %H:%M:%S] ",
    "nl": "[%d-%m-%Y %H:%M:%S] ",
    "sv": "[%Y-%m-%d %H:%M:%S] ",
    "da": "[%d.%m.%Y %H.%M.%S] ",
    "fi": "[{d}.{m}.%Y klo {H}.%M.%S] ",
    "ko": "[%Y. {m}. {d}. {ko} {h}:%M:%S] ",
    "ar": "[{d}\u200f/{m}\u200f/%Y, {h}:%M:%S {ar}] ",
    "German phone, English clock": "[%d.%m.%y, {h}:%M:%S {AM}] ",
}
LAYOUTS = [(f"Android {locale}", form) for locale, form in ANDROID.items()]
LAYOUTS += [(f"iOS {locale}", form) for locale, form in IOS.items()]

names = st.sampled_from(["Ann", "Bob Müller", "+49 170 1234567", "Zoë 🦊", "d'Arc, Jean-Luc", "李雷"])
words = st.sampled_from(
    ["hi", "note: buy milk", "😂😂", "http://a.example/b?c=d", "10:30 - ok", "(yes)", "é ñ ß", "1/2", "a < b"]
)
lines = st.lists(words | st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1), min_size=1, max_size=4)
texts = st.lists(lines.map(" ".join), min_size=1, max_size=3).map("\n".join)
texts = texts.filter(lambda text: text != "null")  # Android's word for what it cannot show
steps = st.integers(0, 40 * 24 * 3600)
chats = st.lists(st.tuples(names, texts, steps), min_size=1, max_size=25)


@pytest.mark.parametrize("locale, form", LAYOUTS, ids=[locale for locale, _ in LAYOUTS])
@settings(quick, max_examples=12)
@given(chat=chats)
def test_whatsapp_chat_comes_back_as_written(locale, form, chat):
    """In each locale's layout: the same speakers, texts (lines, colons, emoji) and times, none lost or added."""
    when = datetime.datetime(2021, 12, 13, 22, 59, 58)  # a day above 12, as nearly every chat has one
    written, expected = "", []
    for name, text, step in [("Ann", "hello", 0), *chat]:
        when += datetime.timedelta(seconds=step)
        shown = when if "%S" in form else when.replace(second=0)
        written += f"{clock(when, form)}{name}: {text}\n"
        expected.append((name, text, shown.replace(tzinfo=datetime.timezone.utc).timestamp()))
    assert whatsapp.recognises(source(written).head)
    got, skipped = read(whatsapp, written)
    assert [(message.speaker, message.text, message.time) for message in got] == expected
    assert not skipped


@pytest.mark.parametrize(
    "first, then, order",
    [
        ("12/11/21", "13/11/21", "day"),
        ("11/12/21", "11/13/21", "month"),
        ("01/02/21", "02/02/21", "day"),  # the shorter span: two days, not two months
        ("1/2/21", "1/3/21", "month"),
        ("31.01.21", "01.02.21", "day"),
        ("1/31/21", "2/1/21", "month"),
    ],
)
def test_order_of_day_and_month_is_decided_for_the_whole_file(first, then, order):
    """One telling date decides for all lines, also those before it."""
    got, skipped = read(whatsapp, f"{first}, 10:00 - Ann: a\n{then}, 10:00 - Bob: b\n")
    days = [datetime.datetime.fromtimestamp(message.time, datetime.timezone.utc) for message in got]
    numbers = [int(number) for number in first.replace(".", "/").split("/")]
    day, month = numbers[:2] if order == "day" else (numbers[1], numbers[0])
    assert (days[0].day, days[0].month) == (day, month)
    assert (days[1] - days[0]).days == 1 and not skipped


def test_order_that_nothing_tells_is_a_guess_that_is_said():
    """A single date reads day-first, as Americans write it month-first, and both guesses are told."""
    for line, month in [("02/01/2021, 10:00 - Ann: a", 1), ("2/1/21, 10:00\u202fAM - Ann: a", 2)]:
        (message,), skipped = read(whatsapp, line)
        assert datetime.datetime.fromtimestamp(message.time, datetime.timezone.utc).month == month
        assert skipped.total() == 1 and "nothing in the file tells" in list(skipped)[0]
    assert not read(whatsapp, "02/02/2021, 10:00 - Ann: a")[1]


def test_date_against_the_order_of_the_file_is_an_error_with_its_line():
    """A file never changes its order; where it seems to, nobody's guess is right."""
    text = "".join(f"{day}/01/21, 10:00 - Ann: a\n" for day in range(10, 20)) + "01/25/21, 10:00 - Bob: b\n"
    with pytest.raises(InputError, match="chat.txt:11: 01/25/21"):
        read(whatsapp, text)
    assert len(read(whatsapp, text, keep_going=True)[0]) == 10


def test_date_inside_a_message_is_text():
    """What is no header in the file's own layout, or no date at all, belongs to the message above it."""
    text = (
        "31/12/2021, 23:59 - Ann: see\n45/99/2021, 10:00 - Bob: no\n[31/12/2021, 10:00:00] Bob: copied\n31/12/2021 ok"
    )
    (message,), skipped = read(whatsapp, text)
    assert (message.speaker, message.text.count("\n")) == ("Ann", 3) and not skipped


SYSTEM = [
    "Messages and calls are end-to-end encrypted. No one outside of this chat can read them. Tap to learn more.",
    "Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt.",
    'Ann created group "Trip: Rome"',
    'Ann changed the subject from "Trip: Rome" to "Trip: Paris"',
    "Ann hat den Betreff von „Trip: Rom“ zu „Trip: Paris“ geändert.",
    "Ann a changé l'objet de « Rome: 1 » en « Paris »",
    "\u202a+49 170 1234567\u202c joined using this group's invite link",
    "Bob added Zoë",
    "You're now an admin",
]


@pytest.mark.parametrize("line", SYSTEM)
@pytest.mark.parametrize("time", ["12/31/21, 11:59\u202fPM - ", "\u200e[31.12.21, 23:59:59] "])
def test_system_line_is_nobodys_message(time, line):
    """Without a name, or with a colon inside quotation marks, a line is counted and no speaker is made up from it."""
    got, skipped = read(whatsapp, f"{time}{line}\n{time}Ann: hi")
    assert spoken(got) == [("Ann", "hi")] and skipped == {"system line": 1}
    assert skipped.places["system line"] == ["chat.txt:1"]


def test_ios_lines_with_a_name_and_the_mark_are_whatsapps_own():
    """iOS puts a name before system lines too; its invisible mark tells them, in any language."""
    text = (
        "\ufeff[31.12.21, 23:59:59] Trip: \u200eNachrichten sind verschlüsselt.\r\n"
        "[31.12.21, 23:59:59] Maldamer: \u200eMaldamer bu grubu oluşturdu\r\n"
        "\u200e[31.12.21, 23:59:59] Ann: \u200ebild utelämnad\r\n"
        "[31.12.21, 23:59:59] ~\u202fNev: \u200e@\u2068Bob\u2069 hat etwas gemacht\r\n"
        "[31.12.21, 23:59:59] ~\u202fNev: hi @\u2068Bob\u2069 \u200e<Diese Nachricht wurde bearbeitet.>\r\n"
    )
    got, skipped = read(whatsapp, text)
    assert spoken(got) == [("~ Nev", "hi @Bob")]
    assert skipped == {"system line": 3, "media": 1}


LEFT_OUT = {
    "media": [
        "<Media omitted>",
        "<Medien ausgeschlossen>",
        "<Médias omis>",
        "<Multimedia omitido>",
        "<Arquivo de mídia oculto>",
        "<Media omessi>",
        "<Media weggelaten>",
        "image omitted",
        "\u200eGIF omitted",
        "\u200e<attached: 00000012-PHOTO-2021-12-31-23-59-59.jpg>",
        "\u200e<pièce jointe : 00000012-PHOTO-2021-12-31.jpg>",
        "<Anhang: 00000012-AUDIO-2021-12-31.opus>",
        "\u200ePlan.pdf • \u200e2 pages \u200edocument omitted",
        "IMG-20211231-WA0001.jpg (file attached)",
        "\u200eIMG-20211231-WA0001.jpg (Datei angehängt)",
        "AUD-20190101-WA0000. (file attached)",
        "John Doe.vcf (archivo adjunto)",
        "test_document.pdf (file attached)\ntest_document",
        "<Medien ausgeschlossen>\n4Bit Plan.pdf",
    ],
    "deleted message": [
        "This message was deleted",
        "You deleted this message.",
        "Diese Nachricht wurde gelöscht.",
        "Ce message a été supprimé",
        "Se eliminó este mensaje.",
        "Mensagem apagada",
        "Questo messaggio è stato eliminato",
        "Dit bericht is verwijderd",
    ],
    "empty or unsupported message": ["null", "", "\u200e"],
    "location": [
        "location: https://maps.google.com/?q=60.16,-24.95",
        "Rome\nItaly\nStandort: https://maps.google.com/?q=1.5,2",
    ],
    "poll": ["POLL:\nwhere?\nOPTION: Rome (1 vote)"],
    "call": ["Missed voice call"],
}


@pytest.mark.parametrize("reason, text", [(reason, text) for reason, texts in LEFT_OUT.items() for text in texts])
def test_what_whatsapp_writes_for_media_and_deletions_is_counted(reason, text):
    """It is nobody's words: left out with its reason and line, in the languages and layouts of both systems."""
    got, skipped = read(
        whatsapp, f"31/12/2021, 23:59 - Bob: hi\n31/12/2021, 23:59 - Ann: {text}\n31/12/2021, 23:59 - Bob: ok"
    )
    assert spoken(got) == [("Bob", "hi"), ("Bob", "ok")]
    assert skipped == {reason: 1} and skipped.places[reason] == ["chat.txt:2"]


def test_the_phrases_of_whatsapp_are_text_a_translator_can_add_to():
    """A phrase is left out in any case, with or without a full stop; no heading of assets/whatsapp.txt is unread."""
    headings = re.findall(r"^\[(.+)\]$", (ROOT / "assets" / "whatsapp.txt").read_text(encoding="utf-8"), re.M)
    sections = {heading: ["Ez az üzenet"] for heading in headings}
    unread = dict(sections)

    class Read(dict):
        def __getitem__(self, key):
            unread.pop(key, None)
            return super().__getitem__(key)

    assert Phrases(Read(sections)).words_of("EZ AZ ÜZENET.", by_ios=False) == ("", "location") and not unread
    assert Phrases(Read(sections)).words_of("a.pdf (ez az üzenet)", by_ios=False) == ("", "media")


@pytest.mark.parametrize(
    "text, words",
    [
        ("IMG-20250406-WA0002.jpg (Datei angehängt)\nalso ist das gut", "also ist das gut"),
        ("\u200e<attached: 00000012-PHOTO.jpg>\nlook: a cat", "look: a cat"),
        ("look \u200eimage omitted", "look"),
    ],
)
def test_caption_of_media_is_kept(text, words):
    """The words beside a picture are a message."""
    got, skipped = read(whatsapp, f"31/12/2021, 23:59 - Ann: {text}")
    assert spoken(got) == [("Ann", words)] and skipped == {"media, its caption kept": 1}


@pytest.mark.parametrize(
    "text",
    [
        "see readme.md (the new one)",
        "<3",
        "...",
        ".",
        "I read: this message was deleted",
        "a <b> c",
        "image omitted, why?",
    ],
)
def test_words_that_resemble_whatsapps_own_are_kept(text):
    """Only a whole phrase in its place is WhatsApp's; what people write about it is theirs."""
    assert spoken(read(whatsapp, f"31/12/2021, 23:59 - Ann: {text}")[0]) == [("Ann", text)]


@pytest.mark.parametrize(
    "edited",
    ["<This message was edited>", "<Diese Nachricht wurde bearbeitet.>", "<Ce message a été modifié>"]
    + [
        "<Se editó este mensaje.>",
        "<Mensagem editada>",
        "<Questo messaggio è stato modificato>",
        "\u200e<何か書いた後>",
    ],
)
def test_note_of_an_edit_is_removed(edited):
    """What was edited stays, that it was edited goes."""
    assert spoken(read(whatsapp, f"31/12/2021, 23:59 - Ann: hi\nyou {edited}")[0]) == [("Ann", "hi\nyou")]


# Telegram

TELEGRAM = {
    "name": "Trip",
    "type": "private_group",
    "id": 77,
    "messages": [
        {"id": 1, "type": "service", "date": "2021-12-31T23:59:00", "actor": "Ann", "action": "create", "text": ""},
        {"id": 2, "type": "message", "date": "2021-12-31T23:59:59", "date_unixtime": "1640995199", "from": "Ann",
         "from_id": "user1", "text": ["see ", {"type": "link", "text": "a.example"}, "\n😂: ok"], "text_entities": []},
        {"id": 3, "type": "message", "date": "2022-01-01T00:00:01", "from": None, "from_id": "user2", "text": "hi"},
        {"id": 4, "type": "message", "date": "2022-01-01T00:00:02", "from": None, "from_id": "user3", "text": "yo"},
        {"id": 5, "type": "message", "date": "2022-01-01T00:00:03", "from": "Ann", "from_id": "user4",
         "photo": "p.jpg", "text": ""},
        {"id": 6, "type": "message", "date": "2022-01-01T00:00:04", "from": "Ann", "from_id": "user4",
         "photo": "p.jpg", "text": "cat"},
        {"id": 7, "type": "message", "date": "2022-01-01T00:00:05", "from": "Bob", "from_id": 5, "forwarded_from": "X",
         "text_entities": [{"type": "plain", "text": "news"}]},
    ],
}  # fmt: skip


def test_telegram_chat_is_read():
    """Texts and entities are joined, people with one name or none stay apart, what is left out is counted."""
    text = json.dumps(TELEGRAM, ensure_ascii=False, indent=1)
    assert telegram.recognises(text)
    got, skipped = read(telegram, text)
    assert got[0] == LogMessage("Ann", "see a.example\n😂: ok", seconds(2021, 12, 31, 23, 59, 59), "Trip", 2)
    assert spoken(got[1:]) == [
        ("Deleted Account", "hi"),
        ("Deleted Account (user3)", "yo"),
        ("Ann (user4)", "cat"),
        ("Bob", "news"),
    ]
    assert got[1].time == seconds(2022, 1, 1, 0, 0, 1)
    assert skipped == {
        "service message": 1,
        "media": 1,
        "media, its caption kept": 1,
        "not left out: forwarded message": 1,
    }


def test_telegram_account_keeps_its_chats_apart():
    """Also two contacts of one name, and the chats that were left."""
    text = json.dumps(
        {
            "about": "Here is the data you requested.",
            "personal_information": {"user_id": 1, "name": "Me"},
            "contacts": {"list": [{"first_name": "Ann"}]},
            "chats": {
                "about": "...",
                "list": [TELEGRAM, TELEGRAM | {"id": 78}, {"type": "saved_messages", "id": 1, "messages": []}],
            },
            "left_chats": {"about": "...", "list": [TELEGRAM | {"id": 79, "name": "Old"}]},
        }
    )
    assert telegram.recognises(text)
    got, _ = read(telegram, text)
    assert [message.chat for message in got] == ["Trip"] * 5 + ["Trip (78)"] * 5 + ["Old"] * 5


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
def test_telegram_broken_json_names_file_and_place(cut):
    """A file cut off is an error; with keep_going what came before is kept and the place noted."""
    text = json.dumps(TELEGRAM)
    text = text[: int(len(text) * cut)]
    with pytest.raises(InputError, match=r"chat.txt:\d: expected valid JSON after message \d"):
        read(telegram, text)
    _, skipped = read(telegram, text, keep_going=True)
    assert any(reason.startswith("broken") for reason in skipped)


@quick
@given(st.lists(st.tuples(names, st.lists(texts, min_size=1, max_size=3), st.booleans()), min_size=1, max_size=10))
def test_telegram_text_comes_back(chat):
    """Strings and entities in any mixture hold the whole text."""
    items = []
    for number, (name, parts, entities) in enumerate(chat):
        text = [{"type": "bold", "text": part} for part in parts] if entities else "".join(parts)
        items.append(
            {
                "id": number,
                "type": "message",
                "date": "2021-12-31T23:59:59",
                "from": name,
                "from_id": name,
                "text": text,
            }
        )
    got, skipped = read(telegram, json.dumps({"name": "x", "type": "personal_chat", "id": 1, "messages": items}))
    assert spoken(got) == [(name, "".join(parts).strip()) for name, parts, _ in chat] and not skipped


# iMessage and Signal

IMESSAGE = """\
Dec 31, 2021 11:59:59 PM (Read by you after 1 hour, 49 seconds)
Ann
happy new year: you!

and one more line
Tapbacks:
    Loved by Me
    Jan 01, 2022  1:00:10 AM
    Me
    you too!

Dec 31, 2021 11:59:59 PM You named the conversation Trip

Jan 01, 2022  1:00:10 AM
Me
you too!
This message responded to an earlier message.

Jan 01, 2022  1:00:11 AM
Ann
Jan 01, 2022  1:00:11 AM yse
Edited 10 seconds later: yes

Jan 01, 2022  1:00:12 AM
Ann
~/Library/Messages/Attachments/1a/IMG_0001.heic

Jan 01, 2022  1:00:13 AM
Ann
This message was deleted from the conversation!
oops
"""


def test_imessage_export_is_read():
    """Replies are read once, in their own place; tapbacks, files and announcements are counted."""
    assert imessage.recognises(IMESSAGE)
    got, skipped = read(imessage, IMESSAGE)
    assert [(message.speaker, message.text, message.time) for message in got] == [
        ("Ann", "happy new year: you!\n\nand one more line", seconds(2021, 12, 31, 23, 59, 59)),
        ("Me", "you too!", seconds(2022, 1, 1, 1, 0, 10)),
        ("Ann", "yes", seconds(2022, 1, 1, 1, 0, 11)),
    ]
    assert skipped["system line"] == skipped["media"] == skipped["deleted message"] == 1
    assert skipped["reply, read in its own place"] == skipped["reactions"] == 1


@quick
@given(chats)
def test_imessage_chat_comes_back(chat):
    """The same speakers, texts and times."""
    when, written, expected = datetime.datetime(2021, 12, 13, 22, 59, 58), "", []
    for name, text, step in chat:
        when += datetime.timedelta(seconds=step)
        written += f"{when:%b %d, %Y} {when.hour % 12 or 12:2}{when:%M:%S %p}\n".replace(
            f"{when:%M:%S}", f":{when:%M:%S}"
        )
        written += f"{name}\n{text}\n\n"
        expected.append((name, text, when.replace(tzinfo=datetime.timezone.utc).timestamp()))
    got, skipped = read(imessage, written)
    assert [(message.speaker, message.text, message.time) for message in got] == expected and not skipped


SIGNAL = [
    {"date": "2021-12-31T23:59:59", "sender": "Ann", "body": "hi: there\n😂", "quote": "", "sticker": None,
     "reactions": [], "attachments": [], "deleted": False, "call": False, "missed": False},
    {"date": "2022-01-01T00:00:00", "sender": "Me", "body": "  ", "quote": "",
     "attachments": [{"name": "a", "path": "media/a"}]},
    {"date": "2022-01-01T00:00:01", "sender": "Me", "body": "Missed voice call  ", "quote": "",
     "attachments": [], "call": True},
]  # fmt: skip
CHAT_MD = """\
[2021-12-31 23:59:59] Ann: hi: there
😂  
(- Me: 👍 -)

[2022-01-01 00:00:00] Me: ![cat.jpg](./media/cat.jpg)  

[2022-01-01 00:00:01] Me: 

> hi: there

you too  
"""  # noqa: W291


def test_signal_export_is_read():
    """data.json is exact; chat.md gives the same words, and is not read again beside data.json."""
    text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in SIGNAL)
    assert signal.recognises(text)
    got, skipped = read(signal, text)
    assert got == [LogMessage("Ann", "hi: there\n😂", seconds(2021, 12, 31, 23, 59, 59), "", 1)]
    assert skipped == {"media": 1, "call": 1}
    assert signal.recognises(CHAT_MD) and not whatsapp.recognises(CHAT_MD)
    got, skipped = read(signal, CHAT_MD)
    assert spoken(got) == [("Ann", "hi: there\n😂"), ("Me", "you too")]
    assert skipped == {"reactions": 1, "media": 1, "quote of an earlier message": 1}
    both = source(CHAT_MD, "Ann/chat.md", {"data.json": source(text)})
    assert list(signal.messages(both, skipped)) == [] and any("data.json" in reason for reason in skipped)


# All of them

FIXTURES = {
    whatsapp: "\u200e[31.12.21, 23:59:59] Ann: \u200eimage omitted\n[31.12.21, 23:59:59] Ann: a: b\nc\n[1.1.22, 0:00] ",
    telegram: json.dumps(TELEGRAM),
    imessage: IMESSAGE,
    signal: CHAT_MD,
}
FOREIGN = {
    "CSV": "date,speaker,text\n12/31/21,Ann,hi\n",
    "Discord": '{"guild": {"id": "1"}, "channel": {"type": "GuildTextChat"}, "messages": [{"id": "1"}]}',
    "ShareGPT": '[{"id": "1", "conversations": [{"from": "human", "value": "hi"}]}]',
    "OpenAI": '{"messages": [{"role": "user", "content": "hi"}]}\n',
    "tagged": "Human: hi\nBot: hello\n",
    "bracketed": "[Human]: hi\n[Bot]: hello\n",
    "ParlAI": "1 your persona: i have two dogs.\n2 hi\thello\n",
    "Markdown": "# Notes\n\n- 12/31/21, 10:00 - buy milk: two\n- [ ] done\n",
    "source": '"""\nA module.\n"""\nimport re\n\nx = {"type": "personal_chat"}\n',
    "log": "[2021-12-31 23:59:59] ERROR: it broke\n[2021-12-31 23:59:59] INFO: it works\n",
    "empty": "",
    "prose": "On 31/12/2021, at 10:00 - as always: they met.\n",
}


def test_readers_claim_their_own_layout_only():
    """By content: each fixture is claimed by its reader alone, other layouts by none."""
    for owner, text in FIXTURES.items():
        assert [reader.NAME for reader in READERS if reader.recognises(text)] == [owner.NAME]
    for layout, text in FOREIGN.items():
        assert not [(layout, reader.NAME) for reader in READERS if reader.recognises(text)]


def survives(reader, data):
    for keep_going in (False, True):
        chat = source(data)
        try:
            reader.recognises(chat.head)
            for message in reader.messages(chat, Skipped(keep_going)):
                assert message.speaker and message.text.strip()
                message.text.encode(), message.speaker.encode()
        except InputError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.NAME)
@quick
@given(st.text() | st.binary())
def test_any_input_gives_messages_or_one_line(reader, data):
    """Random text and bytes never end in a traceback."""
    survives(reader, data)


pieces = st.sampled_from(
    [
        '"',
        "{",
        "}",
        "[",
        "]",
        ",",
        "null",
        "-1e999",
        "\\ud800",
        ": ",
        "\n",
        "> ",
        "\u200e",
        "\x00",
        "99/99/99, ",
        "\udcff",
    ]
) | st.text(max_size=5)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.NAME)
@settings(quick, max_examples=60)
@given(st.data())
def test_damaged_export_gives_messages_or_one_line(reader, data):
    """Nor do exports with pieces cut out or put in anywhere."""
    text = FIXTURES[reader]
    for _ in range(data.draw(st.integers(1, 3))):
        at, to = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        text = text[:at] + data.draw(pieces) + text[data.draw(st.sampled_from([at, to])) :]
    survives(reader, text.encode(errors="surrogateescape" if data.draw(st.booleans()) else "replace"))


def test_deep_json_long_numbers_and_endless_messages_are_refused():
    """Deep nesting, numbers that crash ijson and more lines than a message has are errors, not memory or time."""
    with pytest.raises(InputError, match="deep"):
        read(telegram, '{"messages": [{"text": ' + "[" * 100_000)
    for number in (b"1" * 100_000, b"1e" + b"1" * 5000):
        with pytest.raises(InputError, match="valid JSON"):  # ijson's C parser dies of these if it is let
            read(telegram, b'{"messages": [' + number + b"]}")
    with pytest.raises(InputError, match="65,536"):
        read(whatsapp, "31/12/2021, 23:59 - Ann: hi\n" + "\n" * 70_000)

"""
Text messages as the Android app "SMS Backup & Restore" writes them:

    <smses count="2">
      <sms address="+15550100" date="1640944800000" type="1" body="hi" contact_name="Ann" />
      <mms address="+15550100" date="..." msg_box="2" contact_name="Ann">
        <parts><part ct="text/plain" text="yo" /></parts></mms>

Type 1 was received; what was sent is by "Me". In a group ("+15550100~+15550101") the address of type 137 tells who
speaks, whose name is known from messages of them alone. An emoji is written as the two halves of a surrogate pair,
which no XML parser takes: the elements are read by their letters.
"""

import html
import re
from collections.abc import Iterator

from readers.source import LogMessage, Skipped, Source

NAME = "SMS Backup & Restore"
ME = "Me"
ELEMENT = re.compile(r"<(/mms|sms|mms|part|addr)\b((?:\s+[\w:.-]+=(?:\"[^\"]*\"|'[^']*'))*)")
ATTRIBUTE = re.compile(r"([\w:.-]+)=(?:\"([^\"]*)\"|'([^']*)')")
HALVES = re.compile(r"&#(5[5-7]\d{3});&#(5[5-7]\d{3});")  # of a surrogate pair
RECEIVED, SENT = "1", "2"
FROM = "137"  # type of the address of who sent an MMS
MAX_SHORT_CODE = 6  # digits
KEY_DIGITS = 9  # at the end of a number: without the country's code, and the 0 in its place


def recognises(head: str) -> bool:
    return bool(re.search(r"<smses\b", head)) and bool(re.search(r"<(?:sms|mms)\s", head))


def messages(source: Source, skipped: Skipped) -> Iterator[LogMessage]:
    mms: dict[str, str] | None = None  # the attributes of the one that is open
    texts: list[str] = []
    names: dict[str, str] = {}  # key_of(a number) -> name of a contact, or the number as it was first written
    number = 0
    for _, line in source.lines(skipped):
        for element in ELEMENT.finditer(line):
            kind, attributes = element[1], attributes_of(element[2])
            if kind == "part" and mms is not None and attributes.get("ct") == "text/plain":
                texts.append(attributes.get("text", ""))
            elif kind == "addr" and mms is not None and attributes.get("type") == FROM:
                mms["from"] = attributes.get("address", "")
            elif kind == "mms":
                mms, texts = attributes, []
                number += 1
            elif kind == "/mms" and mms is not None:
                yield from spoken(mms, "\n".join(texts), mms.get("msg_box", ""), names, number, source, skipped)
                mms = None
            elif kind == "sms":
                number += 1
                text, box = attributes.get("body", ""), attributes.get("type", "")
                yield from spoken(attributes, text, box, names, number, source, skipped)


def key_of(address: str) -> str:
    """The digits by which a number is known, however it is written: +1 (810) 555-0101 is 8105550101; else the name."""
    digits = re.sub(r"\D", "", address)
    return digits[-KEY_DIGITS:] if len(digits) > MAX_SHORT_CODE else address


def attributes_of(text: str) -> dict[str, str]:
    return {name: unescaped(one or other) for name, one, other in ATTRIBUTE.findall(text)}


def unescaped(text: str) -> str:
    """The text of an attribute, with the characters that are written as two halves."""
    if "&" not in text:
        return text
    return html.unescape(
        HALVES.sub(lambda match: chr(((int(match[1]) - 0xD800) << 10) + int(match[2]) - 0xDC00 + 0x10000), text)
    )


def spoken(
    attributes: dict[str, str],
    text: str,
    box: str,
    names: dict[str, str],
    number: int,
    source: Source,
    skipped: Skipped,
) -> Iterator[LogMessage]:
    """Yield the message of an element, or none, noted. names: see messages, to which the contact's is added."""
    place = f"{source.name}:{number}"
    name, address = attributes.get("contact_name", ""), attributes.get("address", "")
    is_group = "~" in address or not address
    if name not in ("", "(Unknown)", "null") and not is_group:
        names[key_of(address)] = name
    sender = attributes.get("from", "") if is_group else address
    who = ME if box == SENT else names.setdefault(key_of(sender), sender)
    if box not in (RECEIVED, SENT):
        skipped.note("draft, or message that was not sent", place)
    elif not text.strip() or text == "null":
        skipped.note("media", place)
    elif not who:
        skipped.note("message without a sender", place)
    else:
        date = attributes.get("date", "")
        # milliseconds; of MMS some programs write seconds, as Android has them
        time = int(date) / (1000 if len(date) > 10 else 1) if date.isdecimal() and len(date) < 16 else None
        chat = f"{source.name}/{address if is_group else names.get(key_of(address), key_of(address))}"
        yield LogMessage(who, text.strip(), time, chat, number)

"""
What WhatsApp itself writes where people's words stand, and what is left of a message without it.

iOS puts a left-to-right mark before its own words, in every language; Android and old exports do not, so the phrases of
its languages stand in assets/whatsapp.txt. To add one, add its phrases there: that file says how. What two people say
again and again in angle brackets, <...>, is a phrase that is missing there.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

MARKS = "\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"  # left-to-right and the like: never seen, never meant
MARK = re.compile(f"[{MARKS}]+")
EMPTY = "empty or unsupported message"
EMPTY_TEXTS = ("", "null")  # null: Android's word for what may be seen only once
REASONS = ("deleted message", "media", EMPTY, "call", "location")  # why a message of WhatsApp's own words is left out
REPEATED = re.compile(r"<[^<>\d\n]{4,60}>")
PAGES = r"(?:^.{0,300}• \u200e?\d+ [^\u200e<\n]{0,30})?"  # what iOS writes before a document: "Plan.pdf • 2 pages "
FILE = re.compile(
    r"[^\n]+\.(?:jpe?g|png|webp|gif|mp4|3gp|mov|opus|ogg|m4a|mp3|aac|wav|pdf|docx?|xlsx?|pptx?|zip|txt|csv|vcf|apk)"
)
LOCATION = re.compile(r"(?:.{0,200}\n){0,2}.{0,200}: ?https://maps\.google\.com/\?q=-?\d[\d.]*,-?\d[\d.]*")


class Phrases:
    """The phrases of assets/whatsapp.txt, as the reader looks for them."""

    def __init__(self, sections: dict[str, list[str]]) -> None:
        halves = {half: " ".join(sections[half]).split() for half in ("am", "pm")}
        # how a clock writes am or pm -> the hour that it adds to
        self.hours = {**dict.fromkeys(halves["am"], 0), **dict.fromkeys(halves["pm"], 12)}
        self.beside_a_time = {"", *" ".join(sections["beside a time"]).split()}
        # a whole message, in lower case, with or without a full stop, composed or not -> why it is left out
        self.reasons = {
            unicodedata.normalize(form, text.casefold()): reason
            for reason in REASONS
            for phrase in sections[reason]
            for text in (phrase, phrase + ".", phrase + "。", phrase + "।")
            for form in ("NFC", "NFD")
        }
        named = [phrase for phrase in sections["deleted message"] if "%" in phrase]
        # in lower case, as `reasons`
        self.deleted_by = re.compile(any_of([phrase.casefold() for phrase in named]).replace("%", ".{1,100}"))
        self.deleted_starts = tuple({phrase.casefold().partition("%")[0] for phrase in named})  # quicker to compare
        omitted = "|".join(re.escape(text) for text, reason in self.reasons.items() if reason == "media")
        omitted = omitted.replace("<", r"<\s?").replace(">", r"\s?>")
        self.media = re.compile(
            rf"{PAGES}\u200e<\u200e?[^<>:\n]{{2,30}}:[^<>\n]{{1,300}}>$"  # iOS: <attached: 00000012-PHOTO.jpg>
            rf"|{PAGES}<[^<>:\n]{{2,30}}:\s?\d{{8}}-[^<>\n]{{1,300}}>$"  # the same, the mark lost
            rf"|{PAGES}\u200e(?:{omitted})$|^(?:{omitted})$"
            r"|^\u200e.{1,300}\.\w{0,5} \([^()\n]{1,40}\)$"  # Android: Plan.pdf (file attached)
            r"|^[A-Z]{3}-\d{8}-WA\d+\.\w{0,5} \([^()\n]{1,40}\)$"  # before Android had the mark
            rf"|^.{{1,300}}\.\w{{0,5}} \({any_of(sections['attached'])}\)$",
            re.MULTILINE | re.IGNORECASE,
        )
        # not \s* at the end: on 60,000 spaces it would take 20 s
        self.edited = re.compile(rf"\s?(?:\u200e<[^<>:\n]{{5,60}}>|<{any_of(sections['edited'])}\.?>)\s?$")
        self.poll = re.compile(rf"{any_of(sections['poll'])}:\n")
        first_word, encryption = any_of(sections["encryption, first word"]), any_of(sections["encryption"])
        self.encrypted = re.compile(rf"{first_word}.{{0,60}}{encryption}")

    def words_of(self, raw: str, by_ios: bool) -> tuple[str, str | None]:
        """
        (the words of a message without WhatsApp's own, why something was left out or None). by_ios: iOS wrote the
        file, and what begins with its mark is not by a person.
        """
        is_plain = ">" not in raw and " (" not in raw and ":\n" not in raw and "maps.google" not in raw
        if is_plain and (raw.isascii() or not MARK.search(raw)):  # for speed, as nearly all messages are so
            text = raw.strip()
            folded = text.casefold()
            if text not in EMPTY_TEXTS and folded not in self.reasons and not folded.startswith(self.deleted_starts):
                return text, None
            reason = EMPTY if text in EMPTY_TEXTS else self.reason_of(text)
            return ("", reason) if reason else (text, None)
        raw = self.edited.sub("", raw)
        media = [MARK.sub("", match[0]) for match in self.media.finditer(raw)]
        text = MARK.sub("", self.media.sub("", raw)).strip()
        if media:  # Android repeats a document's name below; other words are a caption
            is_name = FILE.fullmatch(text) or any(name.startswith(text + ".") for name in media)
            return ("", "media") if is_name or not text else (text, "media, its caption kept")
        if LOCATION.fullmatch(text):
            return "", "location"
        if text in EMPTY_TEXTS:
            return "", EMPTY
        reason = self.reason_of(text)
        if not reason and self.poll.match(text):
            reason = "poll"
        if not reason and by_ios and raw.lstrip().startswith("\u200e"):
            reason = "system line"
        return ("", reason) if reason else (text, None)

    def reason_of(self, text: str) -> str | None:
        """Why a whole message is left out, or None."""
        text = text.casefold()
        reason = self.reasons.get(text)
        if reason or not text.startswith(self.deleted_starts):
            return reason
        return "deleted message" if self.deleted_by.fullmatch(text) else None


def repeated_marks(said: Iterable[tuple[str, str]]) -> set[str]:
    """The <...> that at least two people say, three times in all; said: (speaker, text) of messages."""
    speakers: dict[str, list[str]] = {}
    for speaker, text in said:
        if REPEATED.fullmatch(text):
            speakers.setdefault(text, []).append(speaker)
    return {text for text, who in speakers.items() if len(who) > 2 and len(set(who)) > 1}


def any_of(phrases: list[str]) -> str:
    """A regular expression of these phrases."""
    return f"(?:{'|'.join(map(re.escape, phrases))})"


@functools.cache
def phrases() -> Phrases:
    """The phrases of all languages, read when they are first needed."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    path = Path(__file__).parents[1] / "assets" / "whatsapp.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line.strip() and not line.startswith("# "):
            lines.append(line.strip())
    return Phrases(sections)

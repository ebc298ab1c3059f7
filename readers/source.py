"""
What all readers share: a file to read, the messages of a chat log, and the account of what was skipped. archives.py
finds the files that --source names.

Each reader is a module of this folder that reads one layout. detect.py has the two kinds of them: chat logs, whose
messages one of the people in them is to answer, and finished conversations between a user and an assistant.
"""

import codecs
import collections
import gzip
import io
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypedDict

from runtime.errors import InputError

MAX_EXAMPLE = 80  # characters of a line that was left out which are shown
MAX_PLACE = 60  # characters of a place that are shown
JSON_START = re.compile(r"\s*(?:\{|\[\s*[\[{\"\]])")
HEAD_BYTES = 1 << 16  # bytes of a file, unpacked, from which a reader must recognise its layout
# what reading a damaged file or archive raises
UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, tarfile.TarError)


class LogMessage(NamedTuple):
    """One message of a chat log."""

    speaker: str  # as the export names them
    text: str
    time: float | None = None  # seconds since 1970 by the clock of the export, whose time zone is unknown
    chat: str = ""  # which of the chats in the source it is from: a channel, a contact
    line: int = 0  # the line at which it begins, or its number in the file
    in_thread: bool = False  # `chat` is one conversation, which no silence ends


class Conversation(TypedDict):
    """A conversation, as tokenization/chat_format.py takes it."""

    messages: list[dict[str, Any]]


class Record(Conversation, total=False):
    """A conversation, and what a data set tells beside it."""

    rejected: str  # a worse answer than the last message, where one is known


class SourceSettings(Protocol):
    """What a reader needs to know of a prepare.py's settings."""

    @property
    def source(self) -> tuple[str, ...]: ...  # local files or folders
    @property
    def limit(self) -> int | None: ...  # conversations to take at most


class Skipped(collections.Counter[str]):
    """
    Reason -> how often something was skipped for it, or was kept and is worth mentioning; meta.json stores the counts.
    `places` has the first three places of each reason.
    keep_going: whether a broken line is skipped; otherwise it is an InputError. None: the same, in a script that has
        no flag --skip_errors to offer.
    """

    MAX_PLACES = 3  # places that are shown for a reason

    def __init__(self, keep_going: bool | None = False) -> None:
        super().__init__()
        self.keep_going = keep_going
        self.places: dict[str, list[str]] = collections.defaultdict(list)
        self.reasons_kept: dict[str, str] = {}  # key of this counter -> the reason, of what was kept all the same
        self.example_of: Callable[[str], str] | None = None  # place -> what stands there

    def note(self, reason: str, place: str = "", kept: bool = False) -> None:
        """Count one thing that was left out at `place` ("chat.txt:17"), or was kept although something is odd."""
        key = reason
        if kept:
            key = f"not left out: {reason}"  # as meta.json has it
            self.reasons_kept[key] = reason
        self[key] += 1
        if place and len(self.places[key]) < self.MAX_PLACES:
            self.places[key].append(place)

    def broken(self, place: str, expected: str) -> None:
        """A line or item that cannot be understood: raises InputError, or with keep_going counts it."""
        if not self.keep_going:
            advice = "" if self.keep_going is None else "; --skip_errors keeps what is understood"
            raise InputError(f"{place}: {expected}{advice}")
        self.note(f"broken: {expected}", place)

    def add(self, other: "Skipped") -> None:
        """Count what `other` counted, too."""
        for key, n in other.items():
            self[key] += n
            self.places[key] = (self.places[key] + other.places[key])[: self.MAX_PLACES]
        self.reasons_kept.update(other.reasons_kept)

    def report(self) -> Iterator[str]:
        """A line for each reason, with its count and first places, and an example where one can be shown."""
        for key, n in sorted(self.items()):
            line = f"noted {n:,}: {self.reasons_kept[key]}" if key in self.reasons_kept else f"skipped {n:,}: {key}"
            places = self.places[key]
            shown = ", ".join(map(short_place, places)) + (", ..." if n > len(places) else "")
            yield line + (f" ({shown})" if places else "")
            example = self.example_of(places[0]) if self.example_of and places else ""
            if example:
                yield f"    {example}"

    def clear(self) -> None:
        super().clear()
        self.places.clear()
        self.reasons_kept.clear()


class Source:
    """A file to read: on disk, or a member of an archive; it may be gzipped."""

    def __init__(self, name: str, open_raw: Callable[[], Any], siblings: "Mapping[str, Source] | None" = None) -> None:
        self.name = str(name)  # as messages show it
        self.open_raw = open_raw  # opens the file anew, as a binary file
        self.siblings = siblings or {}  # file name -> Source, of the files beside it and, as "../NAME", one folder up

    def open(self) -> io.BufferedReader | gzip.GzipFile:
        """A binary file, unzipped if it was gzipped. Raises InputError."""
        file = io.BufferedReader(self.open_raw(), 1 << 16)
        try:
            start = file.peek(2)[:2]
        except UNREADABLE as error:  # a compressed member that is damaged from its first byte on
            file.close()
            raise InputError(f"{self.name}:1: damaged ({error})") from None
        if start != b"\x1f\x8b":
            return file
        unzipped = gzip.open(file)
        unzipped.myfileobj = file  # pyright: ignore[reportAttributeAccessIssue]  # it closes any file here, not FileIO only
        return unzipped

    @property
    def head(self) -> str:
        """The first 64 kB as text. Raises InputError."""
        with self.open() as file:
            try:
                data = file.read(HEAD_BYTES)
            except UNREADABLE as error:
                raise InputError(f"{self.name}: damaged ({error})") from None
        return data.decode(encoding_of(data), errors="replace").removeprefix("\ufeff")

    def lines(self, skipped: Skipped | None = None, keep_returns: bool = False) -> Iterator[tuple[int, str]]:
        """
        Yield (number, line) from 1 on, without line ends; keep_returns: a carriage return stays. Raises InputError
        where it is not text, unless `skipped` keeps going: then it counts the line, which is read as Windows wrote it.
        """
        ends = "\n" if keep_returns else "\r\n"
        with self.open() as file:
            number = 0
            try:
                start = file.peek(4)
                if encoding_of(start) == "utf-16":
                    for number, line in enumerate(io.TextIOWrapper(file, "utf-16", newline="\n"), 1):
                        yield number, line.rstrip(ends).removeprefix("\ufeff")
                    return
                if start[:3] == codecs.BOM_UTF8:
                    file.read(3)
                for number, raw in enumerate(file, 1):
                    try:
                        yield number, raw.decode("utf-8").rstrip(ends)
                    except UnicodeDecodeError as error:
                        yield number, self.recovered(raw, number, error, skipped).rstrip(ends)
            except UnicodeDecodeError as error:
                raise InputError(f"{self.name}:{number + 1}: not UTF-16 text ({error.reason})") from None
            except UNREADABLE as error:
                reason = f"damaged ({error})"
                if skipped is None:
                    raise InputError(f"{self.name}:{number + 1}: {reason}") from None
                skipped.broken(f"{self.name}:{number + 1}", reason)

    def recovered(self, raw: bytes, number: int, error: UnicodeDecodeError, skipped: Skipped | None) -> str:
        """A line that is not UTF-8 as Windows would have written it, counted. Raises InputError."""
        expected = f"not utf-8 text ({error.reason}); save it anew as UTF-8 (Excel: CSV UTF-8)"
        (Skipped(keep_going=None) if skipped is None else skipped).broken(f"{self.name}:{number}", expected)
        return raw.decode("cp1252", errors="replace")

    def text(self) -> str:
        """The whole text; only for files that are known to be small. Raises InputError."""
        return "\n".join(line for _, line in self.lines())


def short_place(place: str) -> str:
    """A place without the beginning of a long path."""
    return place if len(place) <= MAX_PLACE else "..." + place[3 - MAX_PLACE :]


def example_of(sources: Mapping[str, Source], mask: Callable[[str], str], place: str) -> str:
    """The line at a place ("chat.txt:17"), masked and shortened; "" where it is no line of a text that can be read."""
    name, _, number = place.rpartition(":")
    source = sources.get(name)
    try:
        # the number of an item of JSON is no line; "[31.12.21, ..." is WhatsApp's
        if source is None or not number.isdecimal() or JSON_START.match(source.head):
            return ""
        line = next((line for at, line in source.lines(Skipped(keep_going=True)) if at == int(number)), "")
    except (InputError, UnicodeError):
        return ""
    line = "".join(sign for sign in mask(line.strip()) if sign.isprintable())
    return line[:MAX_EXAMPLE] + ("..." if len(line) > MAX_EXAMPLE else "")


def encoding_of(start: bytes) -> str:
    """The encoding that a byte order mark tells, else UTF-8."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"

"""
What all readers share: the files that --source names, the messages of a chat log, and the account of what was skipped.

Each reader is a module of this folder that reads one layout. detect.py has the two kinds of them: chat logs, whose
messages one of the people in them is to answer, and finished conversations between a user and an assistant.
"""

import codecs
import collections
import functools
import gzip
import io
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypedDict

from runtime.errors import InputError

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


class Record(TypedDict):
    """A conversation, as tokenization/chat_format.py takes it."""

    messages: list[dict[str, Any]]


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

    def report(self) -> Iterator[str]:
        """A line for each reason, with its count and first places."""
        for key, n in sorted(self.items()):
            line = f"noted {n:,}: {self.reasons_kept[key]}" if key in self.reasons_kept else f"skipped {n:,}: {key}"
            places = ", ".join(self.places[key]) + (", ..." if n > len(self.places[key]) else "")
            yield line + (f" ({places})" if self.places[key] else "")

    def clear(self) -> None:
        super().clear()
        self.places.clear()
        self.reasons_kept.clear()


class Source:
    """A file to read: on disk, or a member of a zip or tar; it may be gzipped."""

    def __init__(self, name: str, open_raw: Callable[[], Any], siblings: "dict[str, Source] | None" = None) -> None:
        self.name = str(name)  # as messages show it
        self.open_raw = open_raw  # opens the file anew, as a binary file
        self.siblings = siblings or {}  # file name -> Source, of the files beside it and, as "../NAME", one folder up

    def open(self) -> io.BufferedReader | gzip.GzipFile:
        """A binary file, unzipped if it was gzipped."""
        file = io.BufferedReader(self.open_raw(), 1 << 16)
        if file.peek(2)[:2] != b"\x1f\x8b":
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

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield (number, line) from 1 on, without line ends. Raises InputError where it is not text."""
        with self.open() as file:
            encoding = encoding_of(file.peek(4))
            number = 0
            try:
                with io.TextIOWrapper(file, encoding=encoding, newline="\n") as text:
                    for number, line in enumerate(text, 1):
                        line = line.rstrip("\r\n")
                        yield number, line.removeprefix("\ufeff") if number == 1 else line
            except UnicodeDecodeError as error:
                raise InputError(f"{self.name}:{number + 1}: not {encoding} text ({error.reason})") from None
            except UNREADABLE as error:
                raise InputError(f"{self.name}:{number + 1}: damaged ({error})") from None

    def text(self) -> str:
        """The whole text; only for files that are known to be small. Raises InputError."""
        return "\n".join(line for _, line in self.lines())


def encoding_of(start: bytes) -> str:
    """The encoding that a byte order mark tells, else UTF-8."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def open_sources(settings: SourceSettings) -> list[Source]:
    """The files that --source names. Raises InputError."""
    return [source for path in settings.source for source in sources_at(path)]


def sources_at(path: str | Path) -> list[Source]:
    """The Sources at `path`: a file, the members of a zip or tar, or a folder's files, by name. Raises InputError."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        sources = [source for file in files for source in sources_at(file)]
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif zipfile.is_zipfile(path):
        sources = member_sources(path, zip_names(path), open_zip_member)
    elif is_tar(path):
        sources = member_sources(path, tar_names(path), open_tar_member)
    else:
        sources = [Source(path.as_posix(), lambda: open(path, "rb", buffering=0))]
    folders: dict[str, dict[str, Source]] = collections.defaultdict(dict)
    for source in sources:
        folder, _, name = source.name.rpartition("/")
        folders[folder][name] = source
    siblings = {
        folder: {**{f"../{name}": above for name, above in folders.get(folder.rpartition("/")[0], {}).items()}, **files}
        for folder, files in folders.items()
    }
    for source in sources:
        source.siblings = siblings[source.name.rpartition("/")[0]]
    return sources


def member_sources(path: Path, names: Sequence[str], open_member: Callable[[Path, str], Any]) -> list[Source]:
    return [Source(f"{path.as_posix()}/{name}", functools.partial(open_member, path, name)) for name in sorted(names)]


def zip_names(path: Path) -> list[str]:
    """The names of the files in the zip at `path`. Raises InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise cannot_be_unpacked(path, error) from None


def open_zip_member(path: Path, name: str) -> Any:
    """The file called `name` in the zip at `path`, as a binary file. Raises InputError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.open(name)
    except (RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: a password, an unknown compression
        raise cannot_be_unpacked(path, error) from None


def is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except UNREADABLE:
        return False


def tar_names(path: Path) -> list[str]:
    """The names of the files in the tar at `path`, which may be compressed. Raises InputError."""
    try:
        with tarfile.open(path) as archive:
            return [info.name for info in archive if info.isfile()]
    except UNREADABLE as error:
        raise cannot_be_unpacked(path, error) from None


def open_tar_member(path: Path, name: str) -> Any:
    """The file called `name` in the tar at `path`, as a binary file. Raises InputError."""
    try:
        with tarfile.open(path) as archive:
            member = archive.extractfile(name)
            assert member is not None, f"{name} is one of tar_names"
            copy = tempfile.TemporaryFile()  # a member of an open archive would keep the archive open
            shutil.copyfileobj(member, copy)
            copy.seek(0)
            return copy.detach()
    except UNREADABLE as error:
        raise cannot_be_unpacked(path, error) from None


def cannot_be_unpacked(path: Path, error: Exception) -> InputError:
    return InputError(f"{path.as_posix()}: cannot be unpacked ({error})")

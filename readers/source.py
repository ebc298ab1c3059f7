"""
The ways people keep chats, one file each, and what they share: opening a source, and the account of what was skipped.

A reader of chat logs has

    NAME                                     # what people call the layout: "WhatsApp"
    recognises(head) -> bool                 # from the first 64 kB of text, never from the file's name
    messages(source, skipped)                # yields Message, in the order of the file

and a reader of finished conversations has `records(source, skipped)` in place of `messages`: it yields records as
conversation.py has them. Neither holds a whole file in memory. What they leave out they tell `skipped`.
"""

import codecs
import collections
import gzip
import io
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from runtime.errors import InputError

HEAD_BYTES = 1 << 16  # bytes that a reader may look at to recognise its layout
UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
)  # what a broken file raises as it is read


class Message(NamedTuple):
    """One message of a chat log."""

    speaker: str  # as the export names them
    text: str
    time: float | None = None  # seconds since 1970 on the clock of the export (its time zone is not known), if it tells
    chat: str = ""  # which of the chats in the source: a channel, a contact
    line: int = 0  # where it begins, or its number in the file


class Skipped(collections.Counter):
    """Reason -> how often; `places` keeps the first three of each. With keep_going, broken lines are only noted."""

    def __init__(self, keep_going=False):
        super().__init__()
        self.keep_going = keep_going
        self.places = collections.defaultdict(list)

    def note(self, reason, place=""):
        """Count one thing left out, at `place` ("chat.txt:17")."""
        self[reason] += 1
        if place and len(self.places[reason]) < 3:
            self.places[reason].append(str(place))

    def broken(self, place, expected):
        """A line or item that cannot be understood: InputError, or a note with keep_going."""
        if not self.keep_going:
            raise InputError(f"{place}: {expected}; --skip_errors keeps what is understood")
        self.note(f"broken: {expected}", place)

    def clear(self):
        super().clear()
        self.places.clear()


class Source:
    """A file that a reader reads: on disk, gzipped, or a member of a zip or folder."""

    def __init__(self, name, opened, siblings=None):
        self.name = str(name)  # as messages show it
        self.opened = opened  # a function that opens it anew, binary
        self.siblings = siblings or {}  # file name -> Source, of the files beside it and, as "../NAME", one folder up

    def open(self):
        """A binary file, gunzipped if need be."""
        file = io.BufferedReader(self.opened(), 1 << 16)
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        unzipped = gzip.open(file)
        unzipped.myfileobj = file  # gzip closes this one too
        return unzipped

    @property
    def head(self):
        """The first 64 kB as text."""
        with self.open() as file:
            try:
                data = file.read(HEAD_BYTES)
            except UNREADABLE as error:
                raise InputError(f"{self.name}: damaged ({error})") from None
        return data.decode(encoding_of(data), errors="replace").removeprefix("\ufeff")

    def lines(self):
        """Yield (number, line) from 1 on, without line ends. Raises InputError where it is not text."""
        with self.open() as file:
            encoding = encoding_of(file.peek(4) if hasattr(file, "peek") else b"")
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

    def text(self):
        """The whole text; only for files that are known to be small."""
        return "\n".join(line for _, line in self.lines())


def encoding_of(start):
    """The encoding that a byte order mark tells, else UTF-8."""
    return "utf-16" if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8"


def open_sources(settings):
    """The Sources that --source names."""
    return [source for path in settings.source for source in sources_at(path)]


def sources_at(path):
    """The Sources at `path`: a file, the members of a zip or tar, or a folder's files, by name. Raises InputError."""
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        found = [part for file in files for part in sources_at(file)]
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    elif zipfile.is_zipfile(path) or is_tar(path):
        archive = open_zip_member if zipfile.is_zipfile(path) else open_tar_member
        names = archive(path, None)
        found = [Source(f"{path.as_posix()}/{name}", lambda name=name: archive(path, name)) for name in sorted(names)]
    else:
        found = [Source(path.as_posix(), lambda: open(path, "rb", buffering=0))]
    folders = collections.defaultdict(dict)
    for source in found:
        folder, _, name = source.name.rpartition("/")
        folders[folder][name] = source
    siblings = {
        folder: {**{f"../{name}": above for name, above in folders.get(folder.rpartition("/")[0], {}).items()}, **files}
        for folder, files in folders.items()
    }
    for source in found:
        source.siblings = siblings[source.name.rpartition("/")[0]]
    return found


def open_zip_member(path, name):
    """The file called `name` in the zip at `path`; without a name, the names of all files."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.open(name) if name else [info.filename for info in archive.infolist() if not info.is_dir()]
    except (RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: a password, an unknown compression
        raise InputError(f"{path.as_posix()}: cannot be unpacked ({error})") from None


def is_tar(path):
    try:
        return tarfile.is_tarfile(path)
    except UNREADABLE:
        return False


def open_tar_member(path, name):
    """The file called `name` in the tar at `path`, which may be gzipped; without a name, the names of all files."""
    try:
        with tarfile.open(path) as archive:
            if not name:
                return [info.name for info in archive if info.isfile()]
            file = tempfile.TemporaryFile()  # a member of an open archive would keep the archive open
            shutil.copyfileobj(archive.extractfile(name), file)
            file.seek(0)
            return file.detach()
    except UNREADABLE as error:
        raise InputError(f"{path.as_posix()}: cannot be unpacked ({error})") from None

"""
The files that --source names: a file, the members of a zip or tar, or all of a folder, archives within it included.

An archive is opened once and stays open, for to open a zip reads its whole directory, and a compressed tar is unpacked
up to each member. What cannot be opened is a Source that says so when it is read: its neighbours are read all the same.
"""

import collections
import functools
import io
import os
import shlex
import shutil
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from readers.source import UNREADABLE, Source, SourceSettings
from runtime.errors import InputError

MOST_OPEN = 64  # zips that are open at a time: an operating system allows some hundred files
MAX_DEPTH = 3  # zips within each other that are opened
TAR_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")  # gzip, bzip2, xz: what may hold a tar
DOCUMENT = (
    "[Content_Types].xml",
    "mimetype",
    "META-INF/MANIFEST.MF",
)  # members of the zips that are documents, programs
CUT_OFF = "is a zip that is cut off or damaged; copy or export it again"
OpenZip = Callable[[], zipfile.ZipFile]


def open_sources(settings: SourceSettings) -> list[Source]:
    """The files that --source names. Raises InputError where there is none of that name."""
    return [source for path in settings.source for source in sources_at(path)]


def paths_in(answer: str) -> tuple[str, ...]:
    """The paths that somebody typed, or dragged into a terminal, which quotes them. Raises InputError."""
    answer = answer.strip()
    if Path(answer).expanduser().exists() and answer:
        return (str(Path(answer).expanduser()),)
    try:
        words = shlex.split(answer, posix=os.name == "posix")
    except ValueError:  # an open quote
        words = answer.split()
    words = [word for word in words if word.strip("\"'")]
    if not words:
        raise InputError("no file was named")
    return tuple(str(Path(word.strip("\"'")).expanduser()) for word in words)


def sources_at(path: str | Path) -> list[Source]:
    """The Sources at `path`, by name. Raises InputError if there is no such file or folder."""
    path, zips = Path(path), OpenZips()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    elif path.is_file():
        files = [path]
    else:
        raise InputError(f"{path}: no such file or folder")
    sources = [source for file in files for source in file_sources(file, zips)]
    folders: dict[str, dict[str, Source]] = collections.defaultdict(dict)
    for source in sources:
        folder, _, name = source.name.rpartition("/")
        folders[folder][name] = source
    above = {folder: {f"../{name}": source for name, source in files.items()} for folder, files in folders.items()}
    for source in sources:
        folder = source.name.rpartition("/")[0]
        source.siblings = collections.ChainMap(folders[folder], above.get(folder.rpartition("/")[0], {}))
    return sources


def file_sources(path: Path, zips: "OpenZips") -> Iterator[Source]:
    """Yield the Source of a file on disk, or those of the archive that it is."""
    name = path.as_posix()
    try:
        with open(path, "rb") as file:
            start = file.read(512)
        if start.startswith(b"PK"):
            yield from zip_sources(name, lambda: zipfile.ZipFile(path), lambda: open(path, "rb", buffering=0), zips)
        elif (start[257:262] == b"ustar" or start.startswith(TAR_STARTS)) and tarfile.is_tarfile(path):
            yield from tar_sources(path)
        else:
            yield Source(name, lambda: open(path, "rb", buffering=0))
    except UNREADABLE as error:
        yield unreadable(name, str(error))


def unreadable(name: str, reason: str) -> Source:
    """A Source that raises InputError when it is opened."""

    def refuse() -> NoReturn:
        raise InputError(f"{name}: {reason}")

    return Source(name, refuse)


class OpenZips:
    """The zips that were used last, which stay open."""

    def __init__(self) -> None:
        self.archives: dict[str, zipfile.ZipFile] = {}  # name -> zip, the one used last at the end

    def archive(self, name: str, open_zip: OpenZip) -> zipfile.ZipFile:
        """The zip of this name, opened if it is not open. Raises UNREADABLE."""
        archive = self.archives.pop(name, None) or open_zip()
        self.archives[name] = archive
        if len(self.archives) > MOST_OPEN:
            del self.archives[next(iter(self.archives))]  # its files are closed with it
        return archive

    def member(self, name: str, open_zip: OpenZip, info: zipfile.ZipInfo) -> Any:
        """A member, as a binary file. Raises InputError."""
        try:
            return self.archive(name, open_zip).open(info)
        except (RuntimeError, *UNREADABLE) as error:  # RuntimeError: a password, an unknown compression
            reason = "is encrypted; unpack it first" if info.flag_bits & 1 else f"cannot be unpacked ({error})"
            raise InputError(f"{name}/{info.filename}: {reason}") from None


def zip_sources(
    name: str, open_zip: OpenZip, open_raw: Callable[[], Any], zips: OpenZips, depth: int = 1
) -> Iterator[Source]:
    """Yield the Sources of the members of a zip, of zips within it too. open_raw: opens it as the file that it is."""
    try:
        infos = zips.archive(name, open_zip).infolist()
    except (RuntimeError, *UNREADABLE):
        yield unreadable(name, CUT_OFF)
        return
    if any(info.filename in DOCUMENT for info in infos[:20]):
        yield Source(name, open_raw)
        return
    for info in sorted((info for info in infos if not info.is_dir()), key=lambda info: info.filename):
        open_member = functools.partial(zips.member, name, open_zip, info)
        if depth < MAX_DEPTH and starts_as_zip(open_member):
            inner = functools.partial(unpacked_zip, open_member)
            yield from zip_sources(f"{name}/{info.filename}", inner, open_member, zips, depth + 1)
        elif not info.filename.startswith("__MACOSX/"):
            yield Source(f"{name}/{info.filename}", open_member)


def starts_as_zip(open_member: Callable[[], Any]) -> bool:
    try:
        with open_member() as file:
            return file.read(4) == b"PK\3\4"
    except (InputError, *UNREADABLE):
        return False  # it is told when the member is read


def unpacked_zip(open_member: Callable[[], Any]) -> zipfile.ZipFile:
    """A zip within a zip, in a temporary file: to go back within a member unpacks it anew."""
    copy = tempfile.TemporaryFile()
    with open_member() as member:
        shutil.copyfileobj(member, copy)
    try:
        archive = zipfile.ZipFile(copy)
    except zipfile.BadZipFile:
        copy.close()
        raise
    weakref.finalize(archive, copy.close)
    return archive


class Unpacked:
    """The members of a compressed tar, one behind another in a temporary file."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()

    def __del__(self) -> None:
        self.file.close()

    def added(self, member: Any) -> tuple[int, int]:
        """Append what a file holds; returns (where it begins, its bytes)."""
        start = self.file.seek(0, io.SEEK_END)
        shutil.copyfileobj(member, self.file)
        return start, self.file.tell() - start


class Part(io.RawIOBase):
    """Some bytes of a file, read as a file of its own."""

    def __init__(self, file: Any, start: int, size: int, owner: object = None) -> None:
        super().__init__()
        self.file, self.start, self.size, self.at = file, start, size, 0
        self.owner = owner  # of a file that stays open; None: it is closed with this one

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        self.file.seek(self.start + self.at)
        data = self.file.read(max(0, min(len(buffer), self.size - self.at)))
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def close(self) -> None:
        if self.owner is None:
            self.file.close()
        super().close()


def tar_sources(path: Path) -> list[Source]:
    """The Sources of a tar's members; what is compressed is unpacked once."""
    name, sources, unpacked = path.as_posix(), [], None
    try:
        with open(path, "rb") as file:
            is_plain = not file.read(6).startswith(TAR_STARTS)
        with tarfile.open(path) as archive:
            for info in archive:
                member = archive.extractfile(info) if info.isreg() else None
                if member is None:
                    continue
                if is_plain:
                    start, size = info.offset_data, info.size
                    open_raw = functools.partial(tar_part, path, start, size)
                else:
                    unpacked = unpacked or Unpacked()
                    start, size = unpacked.added(member)
                    open_raw = functools.partial(Part, unpacked.file, start, size, unpacked)
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  # it keeps all of them otherwise
                sources.append(Source(f"{name}/{info.name}", open_raw))
    except UNREADABLE as error:
        sources.append(unreadable(name, f"is an archive that is cut off or damaged ({error}); copy it again"))
    return sorted(sources, key=lambda source: source.name)


def tar_part(path: Path, start: int, size: int) -> Part:
    return Part(open(path, "rb", buffering=0), start, size)

"""
Writes that happen whole or not at all.

    with atomic.folder("out-chat") as new:      # files written in `new` replace those of out-chat together
        (new / "config.json").write_text("{}")

The new files are flushed to the disk, committed by one rename, and then moved into place; a move that a crash
interrupted is finished by the next `finish`. So at any instant there is the old set of files or the new one.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

COMMITTED, WRITING = ".committed", ".writing"  # folders beside the files: a whole new set, and one being written


@contextlib.contextmanager
def folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder (Path) whose files, when the block ends well, replace those of the same names in `path`."""
    path = Path(path)
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    finish(path)
    new = path / WRITING
    shutil.rmtree(new, ignore_errors=True)  # what a crash left
    new.mkdir()
    try:
        yield new
        for name in new.iterdir():
            flush(name)
        os.replace(new, path / COMMITTED)
    except BaseException as error:
        shutil.rmtree(new, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # somebody else may have put a file there
                path.rmdir()
        raise with_path(error, path) from error
    finish(path)


def finish(path: str | Path) -> None:
    """Move a committed set of files into place. Two processes may do so at once."""
    committed = Path(path) / COMMITTED
    if not committed.exists():
        return
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(committed.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                os.replace(name, Path(path) / name.name)
        committed.rmdir()


@contextlib.contextmanager
def file(path: str | Path) -> Iterator[Path]:
    """A temporary Path that replaces the file `path` when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    try:
        yield new
        flush(new)
        os.replace(new, path)
    except BaseException as error:
        new.unlink(missing_ok=True)
        raise with_path(error, path) from error


def with_path(error: BaseException, path: str | Path) -> BaseException:
    """The error itself; if it names no file, as a full disk's, one that names the path that was to be written."""
    if isinstance(error, OSError) and error.errno and not error.filename:
        return OSError(error.errno, error.strerror, str(path))
    return error


def flush(path: str | Path) -> None:
    """Make sure that what was written to the file is on the disk."""
    with open(path, "rb+") as written:
        os.fsync(written.fileno())

"""
Archives of any kind give the same files as a folder, at a cost that grows with their members and bytes, and what cannot
be opened is told without stopping its neighbours.
"""

import io
import json
import shutil
import tarfile
import time
import zipfile

import pytest

from readers import detect
from readers.archives import sources_at
from readers.source import Skipped
from runtime.errors import InputError

CHAT = "[31.12.21, 23:58:59] Ann: hi\n[31.12.21, 23:59:10] Ben: yo\n"
FILES = {"a/_chat.txt": CHAT, "a/00001-PHOTO.jpg": "\0" * 500, "b/c/notes.txt": "one\ntwo\n", "b/empty": ""}


def packed(path, files, kind):
    """An archive, or folder, of {name: text}; returns its path."""
    if kind == "folder":
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text, encoding="utf-8")
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        with tarfile.open(path, f"w:{kind}") as archive:
            for name, text in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    return path


def text_of(source):
    with source.open() as file:
        return file.read()


def contents(path):
    """{name within `path`: text} of its sources, each read twice, the second time in another order."""
    sources = sources_at(path)
    first = {source.name: text_of(source) for source in sources}
    assert first == {source.name: text_of(source) for source in reversed(sources)}
    return {name.removeprefix(f"{path.as_posix()}/"): data.decode() for name, data in first.items()}


@pytest.mark.parametrize("kind", ["folder", "zip", "", "gz", "bz2", "xz"])
def test_every_packing_gives_the_same_files(tmp_path, kind):
    """Zips, tars with each compression and folders: names, contents, and the files beside each."""
    path = packed(tmp_path / "export", FILES, kind)
    assert contents(path) == FILES
    (notes,) = [source for source in sources_at(path) if source.name.endswith("notes.txt")]
    assert set(notes.siblings) == {"notes.txt", "../empty"}


def test_a_zip_within_a_zip_is_opened(tmp_path):
    """Twice if need be; a document that is a zip inside, such as .docx, stays one file."""
    packed(tmp_path / "inner.zip", {"_chat.txt": CHAT}, "zip")
    packed(tmp_path / "plan.docx", {"[Content_Types].xml": "<x/>", "word/document.xml": "<x/>"}, "zip")
    for outer, members in (("middle.zip", ["inner.zip", "plan.docx"]), ("outer.zip", ["middle.zip"])):
        with zipfile.ZipFile(tmp_path / outer, "w") as archive:
            for name in members:
                archive.write(tmp_path / name, name)
    names = {source.name.partition("outer.zip/")[2]: source for source in sources_at(tmp_path / "outer.zip")}
    assert set(names) == {"middle.zip/inner.zip/_chat.txt", "middle.zip/plan.docx"}
    assert names["middle.zip/inner.zip/_chat.txt"].text() == CHAT.rstrip("\n")


def encrypted(data):
    """The bytes of a zip, marked as encrypted in both of its directories."""
    data = bytearray(data)
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + at] |= 1
    return bytes(data)


def damaged_neighbours(folder):
    """Files of every bad kind beside a good chat."""
    (folder / "_chat.txt").write_text(CHAT, encoding="utf-8")
    good = packed(folder / "good.zip", {"secret.txt": "x" * 5000}, "zip").read_bytes()
    (folder / "good.zip").unlink()
    (folder / "locked.zip").write_bytes(encrypted(good))
    (folder / "cut.zip").write_bytes(good[: len(good) // 2])
    (folder / "cut.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 50)
    packed(folder / "cut.tgz", {"a": "text " * 1000, "b": "text " * 1000}, "gz")
    (folder / "cut.tgz").write_bytes((folder / "cut.tgz").read_bytes()[:60])


def test_a_bad_neighbour_is_passed_over(tmp_path):
    """Encrypted, cut off or damaged: counted with its name and what to do, and the chat beside it is read."""
    damaged_neighbours(tmp_path)
    skipped = Skipped()
    ((reader, sources),) = detect.recognise(sources_at(tmp_path), skipped)
    assert (reader.NAME, [source.name.rpartition("/")[2] for source in sources]) == ("WhatsApp", ["_chat.txt"])
    assert skipped["file that cannot be opened"] == 4
    skipped.MAX_PLACES = 9
    detect.recognise(sources_at(tmp_path), skipped)
    told = " ".join(skipped.places["file that cannot be opened"])
    assert "locked.zip/secret.txt: is encrypted; unpack it first" in told
    assert "cut.zip: is a zip that is cut off or damaged; copy or export it again" in told


@pytest.mark.parametrize("name", ["locked.zip", "cut.zip", "cut.gz", "cut.tgz"])
def test_a_bad_file_alone_is_an_error(tmp_path, name):
    """One line with its name and the reason."""
    damaged_neighbours(tmp_path)
    with pytest.raises(InputError, match=name):
        detect.recognise(sources_at(tmp_path / name), Skipped())


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_an_archive_is_not_opened_anew_for_each_look(tmp_path, kind):
    """Three looks at each of 2,000 files take a second; with the archive opened each time it was a minute."""
    days = {f"c/{i:05}.txt": json.dumps([{"n": i}]) for i in range(2000)}
    path = packed(tmp_path / kind, days, kind)
    start = time.process_time()
    for source in sources_at(path):
        for _ in range(3):
            assert source.head
    assert time.process_time() - start < 8


def test_many_zips_are_not_many_open_files(tmp_path):
    """300 zips are read with a limited number of them open."""
    one = packed(tmp_path / "0.zip", {"a": "x"}, "zip")
    for number in range(1, 300):
        shutil.copy(one, tmp_path / f"{number}.zip")
    sources = sources_at(tmp_path)
    import psutil

    before = psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0
    assert [source.text() for source in sources] == ["x"] * 300
    assert not before or psutil.Process().num_fds() < before + 100

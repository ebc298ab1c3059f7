"""
A crash at any instant leaves a folder with all of the old files or all of the new ones.
"""

import os
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from runtime import atomic

OLD = {name: b"old " + name.encode() for name in ("a", "b", "c", "kept")}
NEW = {name: b"new " + name.encode() for name in ("a", "b", "c", "more")}
# dies, as by a power cut, before the n-th thing that it does to the disk
DYING = """
import os, sys
n = int(sys.argv[1])
def audit(event, args):
    global n
    if event in ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree") and "here" in str(args[0]):
        n -= 1
        if n < 0:
            os._exit(9)
from runtime import atomic
sys.addaudithook(audit)
with atomic.folder("here") as new:
    for name in ("a", "b", "c", "more"):
        (new / name).write_bytes(b"new " + name.encode())
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "here").mkdir()
    for name, content in OLD.items():
        (tmp_path / "here" / name).write_bytes(content)
    return tmp_path / "here"


def test_death_at_each_step(folder):
    """Killed before each of its steps: after `finish` there are all old files or all new ones; then it works again."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    seen = []
    for n in range(100):
        for name, content in OLD.items():
            (folder / name).write_bytes(content)
        (folder / "more").unlink(missing_ok=True)
        done = subprocess.run([sys.executable, "-c", DYING, str(n)], cwd=folder.parent, env=env)
        atomic.finish(folder)
        found = contents(folder)
        assert found in (OLD, OLD | NEW), f"step {n}: {found}"
        seen.append(found == OLD)
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert n > 12 and seen == sorted(seen, reverse=True) and True in seen and False in seen
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c", "kept", "more"]


def test_an_error_in_the_block_changes_nothing(folder):
    """An exception, Ctrl-C included, leaves the old files and no traces; a folder that was not there is gone again."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), atomic.folder(folder) as new:
            (new / "a").write_bytes(b"half")
            raise error
        assert contents(folder) == OLD and len(list(folder.iterdir())) == len(OLD)
        with pytest.raises(error), atomic.folder(folder.parent / "other") as new:
            raise error
        assert not (folder.parent / "other").exists()


def test_the_new_files_replace_their_like(folder):
    """When the block ends well, files of the same names are replaced, and others stay."""
    with atomic.folder(folder) as new:
        for name, content in NEW.items():
            (new / name).write_bytes(content)
        assert contents(folder) == OLD
    assert contents(folder) == OLD | NEW and len(list(folder.iterdir())) == 5


def test_two_may_finish_at_once(folder):
    """Readers that find a committed set each move what they can; the set is whole in the end."""
    for _ in range(20):
        (folder / atomic.COMMITTED).mkdir()
        for name in map(str, range(50)):
            (folder / atomic.COMMITTED / name).write_text(name)
        threads = [threading.Thread(target=atomic.finish, args=[folder]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        atomic.finish(folder)
        assert not (folder / atomic.COMMITTED).exists()
        for name in map(str, range(50)):
            assert (folder / name).read_text() == name
            (folder / name).unlink()


def test_a_file_is_replaced_whole(tmp_path):
    """atomic.file: until the block has ended well there is the old file; an error leaves it and no other."""
    path = tmp_path / "new folder" / "f"
    with atomic.file(path) as new:
        new.write_text("old")
    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error), atomic.file(path) as new:
            new.write_text("half")
            assert path.read_text() == "old"
            raise error
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    with atomic.file(path) as new:
        new.write_text("new")
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]

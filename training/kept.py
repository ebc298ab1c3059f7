"""
The last checkpoints of a run (--keep=3): each evaluation whole in a folder of its own, a model folder with trainer.pt,
from which a run can go on.

    out-chat/checkpoint-500  out-chat/checkpoint-750  out-chat/checkpoint-1000
"""

import os
import shutil
from pathlib import Path

from runtime import atomic

PREFIX = "checkpoint-"


def checkpoint_folder(out_dir: Path, iter_num: int) -> Path:
    """Where the checkpoint of a step lies."""
    return out_dir / f"{PREFIX}{iter_num}"


def add_state(folder: Path, trainer: Path) -> None:
    """Put trainer.pt, as it is now, into a checkpoint: the same file where the disk can do that, else a copy."""
    with atomic.file(folder / "trainer.pt") as new:
        new.unlink(missing_ok=True)
        try:
            os.link(trainer, new)
        except OSError:
            shutil.copyfile(trainer, new)


def remove_old(out_dir: Path, iter_num: int, keep: int, start: Path) -> None:
    """
    Leave the last `keep` checkpoints up to this step. Those of a later one are an earlier run's, and stay, as does the
    folder that this run began from, and what a person put there: links, and folders without a model of ours.
    """
    folders = [path for path in out_dir.glob(f"{PREFIX}*") if (path / "chat.json").exists() and not path.is_symlink()]
    numbers = {path.name.removeprefix(PREFIX): path for path in folders}
    steps = {int(number): path for number, path in numbers.items() if number.isdecimal()}
    for step in sorted(step for step in steps if step <= iter_num)[:-keep]:
        if steps[step].resolve() != start.resolve():
            (steps[step] / "chat.json").unlink()  # a crash within leaves nothing that looks whole
            shutil.rmtree(steps[step], ignore_errors=True)  # where it cannot be removed, the run goes on

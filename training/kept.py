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


def remove_old(out_dir: Path, iter_num: int, keep: int) -> None:
    """Leave the last `keep` checkpoints up to this step; those of a later one are of a run that was given up."""
    folders = [path for path in out_dir.glob(f"{PREFIX}*") if (path / "chat.json").exists()]
    numbers = {path.name.removeprefix(PREFIX): path for path in folders}
    steps = {int(number): path for number, path in numbers.items() if number.isdecimal()}
    kept = sorted(step for step in steps if step <= iter_num)[-keep:]
    for step in steps.keys() - kept:
        shutil.rmtree(steps[step])

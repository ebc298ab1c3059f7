"""trainer.pt: what a run of train.py needs to go on, and nothing else reads."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from checkpoint.pretrained import load_tensors
from runtime import atomic
from runtime.errors import InputError

PARTS = {"model": dict, "model_args": dict, "optimizer": dict, "config": dict, "progress": dict}
PARTS |= {"tokenizer": str, "batch_size": int, "rows_drawn": int}  # what a state has, at the least


def save(folder: str | Path, state: dict[str, Any]) -> None:
    """
    Replace trainer.pt whole. state: tensors and plain values. Raises OSError that says why it could not be written.
    """
    path = Path(folder) / "trainer.pt"
    with atomic.file(path) as new:
        try:
            torch.save(state, new)
        except RuntimeError as error:  # torch's archive writer, which does not say that the disk is full
            full = shutil.disk_usage(path.parent).free < 2**20
            why = os.strerror(errno.ENOSPC) if full else error
            kept = "; the older one is kept" if path.exists() else ""
            raise OSError(None, f"the run's state could not be written ({why}){kept}", path) from error


def load(folder: str | Path, mmap: bool = False) -> dict[str, Any]:
    """What `save` wrote; mmap: its tensors stay on the disk. Raises InputError if there is nothing to resume from."""
    path = Path(folder) / "trainer.pt"
    if not path.exists():
        raise InputError(f"{folder} has no trainer.pt to resume from; start anew without --init_from=resume")
    state = load_tensors(path, mmap=mmap)
    missing = [name for name, kind in PARTS.items() if not isinstance(state.get(name), kind)]
    if missing:
        raise InputError(f"{path}: not the state of a run of train.py (it has no {missing[0]})")
    return state


def load_settings(folder: str | Path) -> dict[str, Any]:
    """The settings of the run whose state it is. Raises InputError as `load` does."""
    return dict(load(folder, mmap=True)["config"])

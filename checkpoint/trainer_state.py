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
            raise OSError(None, f"the run's state could not be written ({why}); the older one is kept", path) from error


def load(folder: str | Path) -> dict[str, Any]:
    """What `save` wrote. Raises InputError if there is nothing to resume from."""
    path = Path(folder) / "trainer.pt"
    if not path.exists():
        raise InputError(f"{folder} has no trainer.pt to resume from; start anew without --init_from=resume")
    return load_tensors(path)

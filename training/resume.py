"""
How a run of train.py stops and goes on: signals, what may change when it is resumed, and what is never overwritten.
"""

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from checkpoint import trainer_state
from checkpoint.adapter import is_adapter
from dataset.folder import Split
from runtime.errors import InputError
from tokenization.tokenizer import Tokenizer
from training.settings import TrainConfig

# settings that a resumed run must share with the one it resumes: with another value it would be another run
FIXED = ("data_dir", "batch_size", "gradient_accumulation_steps", "block_size", "n_layer", "n_head", "n_embd", "seed")
FIXED += ("muon", "lora_rank", "freeze_layers", "learn", "dpo_beta")
# and those that are no part of what a run is told: a resumed one says them anew
UNREMEMBERED = ("init_from", "out_dir", "overwrite", "eval_only", "find_lr", "profile")
CHECKED_IDS = 2**25  # of the data, by which it is told that they changed
MODEL_FILES = ("trainer.pt", "model.safetensors", "ckpt.pt", "pytorch_model.bin")


def write_times(out_dir: Path) -> dict[str, int]:
    """When the models and the state that out_dir holds were written, in ns since 1970, by their files."""
    return {name: (out_dir / name).stat().st_mtime_ns for name in MODEL_FILES if (out_dir / name).exists()}


@contextlib.contextmanager
def only_run(out_dir: Path, writes: bool, found: Mapping[str, int]) -> Iterator[None]:
    """
    While no other run may write to the folder, if this one writes. The system holds the lock, so that it ends with its
    process, however that ends. found: the write_times that the run began with. Raises InputError if another run has the
    folder, or had it since then and has saved.
    """
    if not writes:
        yield
        return
    out_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another run is writing to {out_dir}; wait for it, or say --out_dir=OTHER") from None
    try:
        if write_times(out_dir) != found:
            raise InputError(f"another run has just saved to {out_dir}; say --init_from=resume, or --out_dir=OTHER")
        yield
    finally:
        # while it is held: once it is free another run may have it. Windows removes no open file, and filelock does
        with contextlib.suppress(OSError):
            (out_dir / ".lock").unlink()
        lock.release()


def refuse_other_run(out_dir: Path) -> None:
    """Raise InputError if out_dir holds a model or a run already."""
    for name in MODEL_FILES:
        if (out_dir / name).exists():
            raise InputError(
                f"{out_dir} holds a model already ({name}): --init_from=resume goes on with it, "
                f"--out_dir=OTHER keeps it, --overwrite=true replaces it"
            )


def refuse_adapter(out_dir: Path) -> None:
    """Raise InputError if out_dir is a LoRA adapter: it would be merged into the model that is written beside it."""
    if is_adapter(out_dir):
        raise InputError(
            f"{out_dir} holds a LoRA adapter, which whoever loads the new model would merge into it once more; "
            f"say --out_dir=OTHER"
        )


def remembered(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the run that is to be resumed, where `given` settings ask for that; else none."""
    if given.get("init_from") != "resume":
        return {}
    settings = trainer_state.load_settings(given.get("out_dir", TrainConfig.out_dir))
    if "max_iters" in given and "epochs" not in given:
        settings["epochs"] = None
    return {name: value for name, value in settings.items() if name not in UNREMEMBERED}


def fingerprint(splits: Iterable[Split]) -> int:
    """A number that changes when the data do; of large ones a part of the tokens is looked at."""
    crc = 0
    for split in splits:
        step = 1 + len(split.ids) // CHECKED_IDS
        for array in (split.ids, split.supervised):
            crc = zlib.crc32(np.ascontiguousarray(array[::step]).data, crc)
    return crc


def load_resumable(
    config: TrainConfig, tokenizer: Tokenizer, data: int, world_size: int, say: Callable[[str], None]
) -> dict:
    """
    The state to resume from, checked against the settings; `say` is told of those that changed and may. data: the
    fingerprint of what is in data_dir. Raises InputError that names what differs and may not.
    """
    state = trainer_state.load(config.out_dir)
    if state["tokenizer"] != tokenizer.hash:
        raise InputError(
            f"{config.out_dir} was trained with another tokenizer than {config.data_dir} has; prepare that anew"
        )
    if config.start_share and not state.get("start"):
        raise InputError(
            f"{config.out_dir} began without start_share and has not kept its start: resume needs --start_share=0"
        )
    if "steps" not in state["optimizer"]:
        raise InputError(
            f"{config.out_dir} was stopped by an older train.py; --init_from={config.out_dir} starts from it"
        )
    now, then = dataclasses.asdict(config), {**dataclasses.asdict(TrainConfig()), **state["config"]}
    for name in (name for name in now if then[name] != now[name]):
        if name == "batch_size" and now[name] == "auto":
            continue  # it takes what the run had
        if name in FIXED:
            raise InputError(
                f"{config.out_dir} was trained with {name}={then[name]}, not {now[name]}: "
                f"resume needs --{name}={then[name]}"
            )
        if name == "max_iters" and config.epochs is not None:
            continue  # it follows from them
        if name not in UNREMEMBERED:
            say(f"{name} was {then[name]} and is {now[name]} from here on")
    if state.get("data", data) != data:
        say(f"the data in {config.data_dir} have changed since: the run goes on with the new ones, in a new order")
    before = state.get("world_size", world_size)
    if before != world_size:
        say(
            f"{before} processes trained it and {world_size} go on: a step has {world_size / before:g} times the tokens"
        )
    return state


def resume_command() -> str:
    """The command that resumes this run: as it was given, but for where it starts; with torchrun, if that runs it."""
    env = os.environ
    nodes = "" if env.get("GROUP_WORLD_SIZE", "1") == "1" else f"--nnodes={env['GROUP_WORLD_SIZE']} ... "
    launcher = f"torchrun {nodes}--nproc_per_node={env['LOCAL_WORLD_SIZE']}" if "LOCAL_WORLD_SIZE" in env else "python"
    words = [word for word in sys.argv[1:] if not word.startswith(("--init_from=", "--overwrite"))]
    return f"{launcher} train.py " + shlex.join([*words, "--init_from=resume"])


class StopSignal:
    """
    `received` turns true at Ctrl-C, at SIGTERM, or when the terminal is closed, so that the step ends and is saved; a
    second Ctrl-C ends at once. The others may come several times, from the terminal and from the shell, say.
    """

    NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> "StopSignal":
        self.handlers = {number: signal.signal(number, self.note) for number in self.NUMBERS}
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

"""
How a run of train.py stops and goes on: signals, what may change when it is resumed, and what is never overwritten.
"""

import contextlib
import dataclasses
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from checkpoint import trainer_state
from runtime.errors import InputError
from tokenization.tokenizer import Tokenizer
from training.settings import TrainConfig

# settings that a resumed run must share with the one it resumes: with another value it would be another run
FIXED = ("data_dir", "batch_size", "gradient_accumulation_steps", "block_size", "n_layer", "n_head", "n_embd", "seed")
FIXED += ("muon", "lora_rank", "freeze_layers", "learn")
MODEL_FILES = ("trainer.pt", "model.safetensors", "ckpt.pt", "pytorch_model.bin")


@contextlib.contextmanager
def only_run(out_dir: Path, writes: bool) -> Iterator[None]:
    """
    While no other run may write to the folder, if this one writes. The system holds the lock, so that it ends with its
    process, however that ends. Raises InputError if another run has it.
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
        yield
    finally:
        lock.release()
        (out_dir / ".lock").unlink(missing_ok=True)


def refuse_other_run(out_dir: Path) -> None:
    """Raise InputError if out_dir holds a model or a run already."""
    for name in MODEL_FILES:
        if (out_dir / name).exists():
            raise InputError(
                f"{out_dir} holds a model already ({name}): --init_from=resume goes on with it, "
                f"--out_dir=OTHER keeps it, --overwrite=true replaces it"
            )


def load_resumable(config: TrainConfig, tokenizer: Tokenizer, say: Callable[[str], None]) -> dict:
    """
    The state to resume from, checked against the settings; `say` is told of those that changed and may. Raises
    InputError that names what differs and may not.
    """
    state = trainer_state.load(config.out_dir)
    if state["tokenizer"] != tokenizer.hash:
        raise InputError(
            f"{config.out_dir} was trained with another tokenizer than {config.data_dir} has; prepare that anew"
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
        if name not in ("init_from", "out_dir", "overwrite", "eval_only"):
            say(f"{name} was {then[name]} and is {now[name]} from here on")
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
    second one ends at once.
    """

    NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

    def __init__(self) -> None:
        self.received = False

    def __enter__(self) -> "StopSignal":
        self.handlers = {number: signal.signal(number, self.note) for number in self.NUMBERS}
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

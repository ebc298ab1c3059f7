"""
What a run writes of itself: metrics.jsonl (a JSON object a line), loss.png, and, if asked for, Weights & Biases and
TensorBoard.
"""

import dataclasses
import importlib.util
import json
import math
import time
from pathlib import Path
from typing import Any, TextIO

from runtime import atomic, figure
from runtime.errors import InputError
from training.settings import TrainConfig
from training.step import StepResult


class RunLog:
    """
    metrics.jsonl, loss.png, Weights & Biases, TensorBoard; silent on all ranks but the first. iter_num: where the run
    goes on, None for a new one.
    """

    def __init__(self, config: TrainConfig, iter_num: int | None, is_master: bool) -> None:
        self.is_on = is_master and not config.eval_only
        self.path = Path(config.out_dir) / "metrics.jsonl"
        self.rows: list[dict[str, Any]] = []
        self.kept = b""  # the lines of the file that stay
        self.file: TextIO | None = None
        self.wandb: Any = None
        self.tensorboard: Any = None
        if not self.is_on:
            return
        if iter_num is not None and self.path.exists():
            for line in self.path.read_bytes().splitlines(keepends=True):
                row = row_of(line)
                if row is None and line.endswith(b"\n") or row and row["iter"] <= iter_num:
                    self.kept += line.rstrip(b"\r\n") + b"\n"  # the others will come again, or were cut by a crash
                    self.rows += [row] if row else []
        for package in ("wandb", "tensorboard"):
            if getattr(config, f"{package}_log") and not importlib.util.find_spec(package):
                raise InputError(f"--{package}_log=true needs the package: pip install {package}")
        if config.tensorboard_log:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(config.out_dir, purge_step=iter_num)
        if config.wandb_log:
            import wandb  # pyright: ignore[reportMissingImports]  (an extra that few install)

            self.wandb = wandb
            wandb.init(project=config.wandb_project, name=config.out_dir, config=dataclasses.asdict(config))

    def __enter__(self) -> "RunLog":
        if self.is_on:
            with atomic.file(self.path) as new:
                new.write_bytes(self.kept)
            self.file = open(self.path, "a", encoding="utf-8")
        return self

    def __exit__(self, *error: object) -> None:
        if self.file:
            self.file.close()
        if self.tensorboard:
            self.tensorboard.close()
        if self.wandb:
            self.wandb.finish()

    def write(self, **row: float) -> None:
        """Add a row: `iter` and what was measured there."""
        if self.file is None:
            return
        self.rows.append(row)
        strict = {name: value if math.isfinite(value) else None for name, value in row.items()}  # JSON has no NaN
        try:
            self.file.write(json.dumps(strict) + "\n")
            self.file.flush()
        except OSError as error:
            raise atomic.with_path(error, self.path) from error
        if self.tensorboard:
            for name in row.keys() - {"iter"}:
                self.tensorboard.add_scalar(name, row[name], row["iter"])
        if self.wandb:
            self.wandb.log(row, step=row["iter"])

    def plot(self, out_dir: Path) -> None:
        """Draw loss.png: the loss on train and on val over the steps."""
        if not self.is_on:
            return
        picture = figure.new_figure()
        axes = picture.subplots()
        for name, label, marker, color in (("loss", "train", "", figure.BLUE), ("val", "val", "o", figure.ORANGE)):
            rows = [row for row in self.rows if isinstance(row.get(name), int | float)]
            if rows:
                steps, losses = [row["iter"] for row in rows], [row[name] for row in rows]
                label = f"{label}, last {losses[-1]:.3f}"
                width = 1.5 if marker else 1
                axes.plot(steps, losses, color=color, label=label, marker=marker, markersize=4, linewidth=width)
        axes.set(xlabel="step", ylabel="loss per supervised token (nats)")
        axes.set_title(figure.as_letters(str(out_dir)), parse_math=False)
        figure.style_axes(axes, grid="both")
        axes.legend()
        figure.save(picture, out_dir / "loss.png")


def row_of(line: bytes) -> dict[str, Any] | None:
    """The row in a line of metrics.jsonl; None for what a run did not write."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("iter"), int) else None


class Throughput:
    """How fast the steps since the last printed line were."""

    def __init__(self) -> None:
        self.started = time.time()
        self.steps: list[StepResult] = []

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self.steps.append(result)

    def pause(self, seconds: float) -> None:
        """Leave out seconds that were not spent on steps."""
        self.started += seconds

    def take(self) -> dict[str, float]:
        """The last loss, seconds a step, tokens and supervised tokens a second, and the share that is supervised."""
        seconds, steps = max(time.time() - self.started, 1e-9), self.steps
        self.started, self.steps = time.time(), []
        n_learned = sum(step.n_learned for step in steps)
        return {
            "loss": steps[-1].loss,
            "grad_norm": steps[-1].norm,
            "seconds": seconds / len(steps),
            "tokens_per_s": sum(step.n_filled for step in steps) / seconds,
            "supervised_per_s": n_learned / seconds,
            "supervised": n_learned / sum(step.n_tokens for step in steps),
        }


def progress_line(
    iter_num: int, val_loss: float | None, lr: float, speed: dict[str, float], memory_mb: float, eta: str
) -> str:
    """What people watch; speed: as Throughput.take gives it."""
    val = f", val {val_loss:.4f}" if val_loss is not None else ""
    return (
        f"iter {iter_num}: loss {speed['loss']:.4f}{val}, lr {lr:.1e}, {speed['seconds'] * 1000:.0f} ms, "
        f"{speed['tokens_per_s']:,.0f} tok/s, {speed['supervised']:.0%} of batch supervised, {memory_mb:,.0f} MB, "
        f"ETA {eta}"
    )

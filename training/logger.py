"""
What a run writes of itself: metrics.jsonl (a JSON object a line), loss.png, and, if asked for, Weights & Biases and
TensorBoard.
"""

import dataclasses
import importlib.util
import json
import time
from pathlib import Path

from runtime import atomic
from runtime.errors import InputError


class RunLog:
    """metrics.jsonl, loss.png, Weights & Biases, TensorBoard; silent on all ranks but the first."""

    def __init__(self, config, resumed, master):
        self.on = master and not config.eval_only
        self.path = Path(config.out_dir) / "metrics.jsonl"
        self.rows, self.file, self.wandb, self.tensorboard = [], None, None, None
        if not self.on:
            return
        if resumed and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines if line.endswith("}")]  # a crash may have cut the last one
            n = resumed["progress"]["iter_num"]  # what came after the checkpoint will come again
            self.rows = [row for row in rows if row["iter"] <= n]
        for package in ("wandb", "tensorboard"):
            if getattr(config, f"{package}_log") and not importlib.util.find_spec(package):
                raise InputError(f"--{package}_log=true needs the package: pip install {package}")
        if config.tensorboard_log:
            from torch.utils.tensorboard import SummaryWriter

            self.tensorboard = SummaryWriter(config.out_dir, purge_step=resumed and resumed["progress"]["iter_num"])
        if config.wandb_log:
            import wandb

            self.wandb = wandb
            wandb.init(project=config.wandb_project, name=config.out_dir, config=dataclasses.asdict(config))

    def __enter__(self):
        if self.on:
            with atomic.file(self.path) as new:
                new.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
            self.file = open(self.path, "a", encoding="utf-8")

    def __exit__(self, *error):
        if self.file:
            self.file.close()
        if self.tensorboard:
            self.tensorboard.close()
        if self.wandb:
            self.wandb.finish()

    def write(self, **row):
        if self.on:
            self.rows.append(row)
            try:
                self.file.write(json.dumps(row) + "\n")
                self.file.flush()
            except OSError as error:
                raise atomic.with_path(error, self.path) from error
            if self.tensorboard:
                for name in row.keys() - {"iter"}:
                    self.tensorboard.add_scalar(name, row[name], row["iter"])
            if self.wandb:
                self.wandb.log(row, step=row["iter"])

    def plot(self, out_dir):
        """Draw loss.png: the loss on train and on val over the steps."""
        if not self.on:
            return
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for name, label, style in (
            ("loss", "train", {"linewidth": 1}),
            ("val", "val", {"marker": "o", "markersize": 4}),
        ):
            points = [(row["iter"], row[name]) for row in self.rows if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), label=f"{label}, last {points[-1][1]:.3f}", **style)
        axes.set(xlabel="step", ylabel="loss per supervised token (nats)", title=str(out_dir))
        axes.grid(alpha=0.3)
        axes.legend()
        with atomic.file(Path(out_dir) / "loss.png") as new:
            figure.savefig(new, format="png", dpi=120)
        pyplot.close(figure)


class Throughput:
    """What the steps since the last line found, for the next one."""

    def __init__(self):
        self.begun, self.steps = time.time(), []

    def add(self, found):
        self.steps.append(found)

    def pause(self, seconds):
        """Seconds that were not spent on steps."""
        self.begun += seconds

    def row(self):
        """The last loss, seconds a step, tokens and supervised tokens a second, and the share that is supervised."""
        seconds, steps = max(time.time() - self.begun, 1e-9), self.steps
        filled, learned, tokens = (
            sum(getattr(s, name) for s in steps) for name in ("n_filled", "n_learned", "n_tokens")
        )
        self.__init__()
        speed = {"tokens_per_s": filled / seconds, "supervised_per_s": learned / seconds}
        return {"loss": steps[-1].loss, "seconds": seconds / len(steps), **speed, "supervised": learned / tokens}


def progress_line(iter_num, val_loss, lr, row, memory_mb, left):
    """What people watch: a row of Live, and the rest."""
    val = f", val {val_loss:.4f}" if val_loss is not None else ""
    return (
        f"iter {iter_num}: loss {row['loss']:.4f}{val}, lr {lr:.1e}, {row['seconds'] * 1000:.0f} ms, "
        f"{row['tokens_per_s']:,.0f} tok/s, {row['supervised']:.0%} of batch supervised, {memory_mb:,.0f} MB, "
        f"ETA {left}"
    )

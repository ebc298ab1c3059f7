"""What a run says of itself before its first step and at its end."""

import math
import shlex
from typing import TYPE_CHECKING

import numpy as np

from runtime.humanize import millions
from training import estimate
from training.budget import Budget

if TYPE_CHECKING:
    from training.run import Run

MANY_EPOCHS = 10  # passes over the data from which on they may be learned by heart


def announce(run: "Run", budget: Budget) -> None:
    """Say what is trained, on what, and what it will need."""
    config, model, train = run.config, run.model, run.loader.split
    rows = sum(loader.group * loader.rows_of(run.batch_size) for loader in run.loaders)
    tokens_per_iter = rows * config.gradient_accumulation_steps * run.block_size * run.device.world_size
    n_tokens, n_learned = len(train.ids), int(train.supervised.sum(dtype=np.int64))
    seconds = estimate.step_seconds(model, tokens_per_iter / run.device.world_size, n_learned / n_tokens, run.device)
    n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trained = f", {millions(n_trained)} of them trained" if n_trained < 0.99 * model.num_params() else ""
    steps_left = max(config.max_iters - run.progress.iter_num, 0)
    if config.epochs is not None:
        run.say(f"epochs={config.epochs:g}: {config.max_iters:,} steps")
    if run.is_resumed and not steps_left and not config.eval_only:
        run.say(f"the run has taken its {run.progress.iter_num:,} steps; a larger --max_iters goes on")
    if config.lora_rank and run.base is None:
        start = "what it started from" if run.is_resumed else config.init_from
        run.say(
            f"what LoRA learns is merged, and not kept apart: {start} is nothing that an adapter can name as its base"
        )
    run.say(
        f"{millions(model.num_params())} parameters{trained} on {run.device.name} in {run.device.dtype}, "
        f"{tokens_per_iter:,} tokens a step, about {run.n_bytes / 1e9:.1f} GB, "
        f"about {budget.eta(run.progress.iter_num, seconds)} for {steps_left:,} steps at most"
    )
    run.say(f"{n_learned:,} supervised tokens in {config.data_dir}")
    if run.pairs:
        run.say(f"{len(run.pairs['train'].segments) // 2:,} pairs of a better and a worse answer")
    epochs = config.max_iters * tokens_per_iter * run.batch_size / rows / n_tokens
    if epochs > MANY_EPOCHS and config.max_minutes is None and not config.find_lr:
        run.say(f"the data are passed {epochs:.0f} times and may be learned by heart: fewer --max_iters, or more data")


def summary(run: "Run") -> str:
    """The last line of a run that ended well."""
    best = run.progress.best_val_loss
    val = f", val loss {best:.4f}" if math.isfinite(best) else ""
    size = f"{millions(run.model.num_params())} parameters{val}"
    flag = shlex.quote(f"--out_dir={run.out_dir}")
    return f"wrote {run.out_dir} ({size}); talk to it: python chat.py {flag}"

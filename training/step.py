"""
One step of training: gradients over all micro-batches of all ranks, whether they can be trusted, and the update.

    found = step.gradients(model, batches, where, loss_scale)
    if not step.fault(found, progress, where):
        step.update(optimizer, found, lr, config, loss_scale)
"""

import contextlib
import math
from dataclasses import dataclass

import torch

from training.parallel import sum_ranks

# a loss of so many times the smoothed one, and so many nats above it, after so many good steps, is a step to skip
SPIKE_FACTOR, SPIKE_NATS, SPIKE_WARMUP = 2.0, 1.0, 50


@dataclass
class Progress:
    """Where a run is."""

    iter_num: int = 0
    tokens_seen: int = 0
    elapsed: float = 0.0  # seconds, up to the last save
    best_val_loss: float = math.inf
    worse: int = 0  # evaluations since the best one
    smoothed: float | None = None  # loss
    good: int = 0  # steps taken
    skipped: int = 0  # steps skipped in a row
    loss_scale: float = 1.0


@dataclass
class StepResult:
    """Of a step, over all ranks: mean loss of the learned tokens, and how many tokens there were."""

    loss: float
    n_learned: int
    n_filled: int  # without padding
    n_tokens: int


def accumulate_gradients(model, batches, where, loss_scale=1.0):
    """Found of these micro-batches, whose gradients are added to the parameters'; model: DDP's, or the plain one."""
    n_here = [sum(batch.n_supervised for batch in batches), sum(batch.filled for batch in batches)]
    n_here.append(sum(batch.idx.size for batch in batches))
    n_learned, n_filled, n_tokens = (int(n) for n in sum_ranks(torch.tensor(n_here, dtype=torch.float64), where))
    total = 0.0
    for i, batch in enumerate(batches):
        final = i == len(batches) - 1
        # DDP averages once, behind the last; a sharded model has no room for gradients that are whole
        no_sync = model.no_sync() if hasattr(model, "no_sync") and not final else contextlib.nullcontext()
        with no_sync:
            with where.autocast():
                _, loss = model(*where.tensors(*batch.arrays))
            share = batch.n_supervised / n_learned
            (loss * (share * where.world_size * loss_scale)).backward()  # DDP takes the mean over ranks
        total += loss.detach() * share
    return StepResult(sum_ranks(total.double().cpu(), where).item(), n_learned, n_filled, n_tokens)


def reason_to_skip(found, norm, now, where):
    """What is wrong with a step, in words; None if nothing is. norm: of its gradients."""
    if not math.isfinite(found.loss):
        return f"the loss is {found.loss}"
    if (
        now.smoothed
        and now.good > SPIKE_WARMUP
        and found.loss > max(SPIKE_FACTOR * now.smoothed, now.smoothed + SPIKE_NATS)
    ):
        return f"the loss leaps from {now.smoothed:.2f} to {found.loss:.2f}"
    if not math.isfinite(norm) and where.dtype != "float16":  # there the scale of the loss was too high, that is all
        return f"the gradient is {norm}"
    return None


def apply_update(optimizer, norm, lr, config, loss_scale=1.0):
    """Clip the gradients, whose norm is given without the loss's scale, and take the step."""
    scale = 1.0 if config.grad_clip is None else min(1.0, config.grad_clip / (norm + 1e-6))
    muon_lr = config.muon_lr * lr / max(config.learning_rate, 1e-12)
    optimizer.step(lr, muon_lr, scale / loss_scale)

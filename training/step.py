"""
One step of training: gradients over all micro-batches of all ranks, whether they can be trusted, and the update.

    result = take_step(loss_module, batches, optimizer, progress, device, lr, config)
    print(result.loss, result.skipped)
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from dataset.loader import Batch
from model import GPT
from runtime.device import Device
from training.optimizer import Optimizer
from training.parallel import sum_ranks
from training.settings import TrainConfig

# a loss is a spike, and its step skipped, if it is more than twice the smoothed loss and more than a nat above it, and
# only after 50 good steps, when the smoothed loss says something
SPIKE_FACTOR, SPIKE_NATS, SPIKE_WARMUP = 2.0, 1.0, 50


class LossModule(nn.Module):
    """GPT.loss as a module's forward pass, which is what DistributedDataParallel wraps."""

    def __init__(self, model: GPT, unlikelihood: float = 0.0) -> None:
        super().__init__()
        self.model, self.unlikelihood = model, unlikelihood

    def forward(self, **batch: Tensor) -> Tensor:
        """The loss of a batch, given as the keyword arguments of GPT.loss."""
        return self.model.loss(**batch, unlikelihood=self.unlikelihood)


@dataclass
class Progress:
    """Where a run is; saved with it."""

    iter_num: int = 0
    tokens_seen: int = 0
    elapsed: float = 0.0  # seconds, up to the last save
    best_val_loss: float = math.inf
    worse: int = 0  # evaluations since the best one
    smoothed: float | None = None  # loss
    good: int = 0  # steps taken
    skipped: int = 0  # steps skipped in a row
    loss_scale: float = 1.0  # float16's: what the loss is multiplied by before backward

    def step_taken(self, loss: float) -> None:
        """Count a good step."""
        self.good, self.skipped = self.good + 1, 0
        self.smoothed = loss if self.smoothed is None else 0.9 * self.smoothed + 0.1 * loss


@dataclass
class StepResult:
    """Of one step, over all ranks."""

    loss: float  # the mean over the learned tokens
    n_learned: int
    n_filled: int  # tokens without padding
    n_tokens: int
    skipped: str | None = None  # why the step was not taken


def accumulate_gradients(
    loss_module: nn.Module, batches: Sequence[Batch], device: Device, loss_scale: float = 1.0
) -> StepResult:
    """Add the gradients of the mean loss over these micro-batches, of all ranks, to the parameters'."""
    counts = [
        sum(batch.n_supervised for batch in batches),
        sum(batch.n_filled for batch in batches),
        sum(batch.idx.size for batch in batches),
    ]
    n_learned, n_filled, n_tokens = (int(n) for n in sum_ranks(torch.tensor(counts, dtype=torch.float64), device))
    total: Tensor | float = 0.0
    for i, batch in enumerate(batches):
        is_last = i == len(batches) - 1
        # DDP averages over ranks once, after the last; a sharded model has no space for gradients that are whole
        no_sync = getattr(loss_module, "no_sync", contextlib.nullcontext)
        with contextlib.nullcontext() if is_last else no_sync():
            with device.autocast():
                loss = loss_module(**device.tensors(batch.arrays))
            share = batch.n_supervised / n_learned
            (loss * (share * device.world_size * loss_scale)).backward()  # DDP takes the mean over ranks
        total += loss.detach() * share
    assert isinstance(total, Tensor)
    return StepResult(sum_ranks(total.double().cpu(), device).item(), n_learned, n_filled, n_tokens)


def reason_to_skip(result: StepResult, norm: float, progress: Progress, device: Device) -> str | None:
    """What is wrong with a step, in words; None if nothing is. norm: of its gradients, without the loss's scale."""
    if not math.isfinite(result.loss):
        return f"the loss is {result.loss}"
    if progress.smoothed and progress.good > SPIKE_WARMUP:
        if result.loss > max(SPIKE_FACTOR * progress.smoothed, progress.smoothed + SPIKE_NATS):
            return f"the loss leaps from {progress.smoothed:.2f} to {result.loss:.2f}"
    if not math.isfinite(norm) and device.dtype != "float16":  # there the scale of the loss was too high, that is all
        return f"the gradient is {norm}"
    return None


def apply_update(optimizer: Optimizer, norm: float, lr: float, config: TrainConfig, loss_scale: float = 1.0) -> None:
    """Clip the gradients, whose norm is given without the loss's scale, and take the optimizer's step."""
    scale = 1.0 if config.grad_clip is None else min(1.0, config.grad_clip / (norm + 1e-6))
    muon_lr = config.muon_lr * lr / max(config.learning_rate, 1e-12)
    optimizer.step(lr, muon_lr, scale / loss_scale)


def take_step(
    loss_module: nn.Module,
    batches: Sequence[Batch],
    optimizer: Optimizer,
    progress: Progress,
    device: Device,
    lr: float,
    config: TrainConfig,
) -> StepResult:
    """
    One step: the loss is the mean over the learned tokens of all micro-batches of all ranks. A step that cannot be
    trusted is skipped, and the result says why.
    """
    result = accumulate_gradients(loss_module, batches, device, progress.loss_scale)
    norm = optimizer.grad_norm().item() / progress.loss_scale
    result.skipped = reason_to_skip(result, norm, progress, device)
    if result.skipped:
        progress.skipped += 1
    elif math.isfinite(norm):
        apply_update(optimizer, norm, lr, config, progress.loss_scale)
        progress.step_taken(result.loss)
        if device.dtype == "float16" and progress.good % 2000 == 0:
            progress.loss_scale *= 2
    else:
        progress.loss_scale /= 2  # float16's way to find its scale
    optimizer.zero_grad()
    return result

"""
One step of training: gradients over all micro-batches of all ranks, whether they can be trusted, and the update.

    stepper = Stepper(loss_module, optimizer, progress, device, config, told=lambda result: print(result.loss))
    stepper.take(batches, lr)
    stepper.settle()
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
from torch import Tensor

from dataset.loader import Batch
from model import GPT
from runtime.device import Device
from training.optimizer import Optimizer
from training.parallel import sum_ranks
from training.preference import answer_log_probabilities, dpo_loss
from training.settings import TrainConfig

# A gradient that leaps is shortened to what is usual lately, and its step is taken: rare data have such gradients too,
# and must be learned. The limit is so many spreads above the mean of the logarithms of the norms, as in ZClip (Kumar et
# al. 2025), and holds from 50 steps on, when these say something. The spread is taken as no smaller than MIN_SPREAD.
MAX_SPREADS, MIN_SPREAD, WARMUP = 3.0, 0.25, 50
MEMORY = 0.98  # of the mean and the spread: about the last 50 steps count
TOLD_LEAP = 5.0  # times the usual: from there on a person is told


class LossModule(nn.Module):
    """
    The loss as a module's forward pass, which is what DistributedDataParallel wraps: sft_weight times GPT.loss, or of
    pairs DPO's with its beta.
    """

    def __init__(self, model: GPT, unlikelihood: float = 0.0, dpo_beta: float = 0.0, sft_weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.unlikelihood, self.dpo_beta, self.sft_weight = model, unlikelihood, dpo_beta, sft_weight

    def forward(self, reference: Tensor | None = None, **batch: Tensor) -> Tensor:
        """The loss of a batch, given as the keyword arguments of GPT.loss, and for pairs Batch.reference."""
        if reference is not None:
            return dpo_loss(answer_log_probabilities(self.model, **batch), reference, self.dpo_beta)
        return self.sft_weight * self.model.loss(**batch, unlikelihood=self.unlikelihood)


@dataclass
class Progress:
    """Where a run is; saved with it."""

    iter_num: int = 0
    tokens_seen: int = 0
    elapsed: float = 0.0  # seconds, up to the last save
    best_val_loss: float = math.inf
    worse: int = 0  # evaluations since the best one
    smoothed: float | None = None  # loss
    norm_mean: float = 0.0  # of the logarithms of the gradients' norms, of the last steps
    norm_square: float = 0.0  # of their squares
    good: int = 0  # steps taken
    skipped: int = 0  # steps skipped in a row
    loss_scale: float = 1.0  # float16's: what the loss is multiplied by before backward

    def step_taken(self, loss: float, norm: float) -> None:
        """Count a good step, with the norm that its gradient had before it was shortened."""
        self.good, self.skipped = self.good + 1, 0
        self.smoothed = loss if self.smoothed is None else 0.9 * self.smoothed + 0.1 * loss
        memory, logarithm = min(MEMORY, 1 - 1 / self.good), math.log(max(norm, 1e-12))
        self.norm_mean = memory * self.norm_mean + (1 - memory) * logarithm
        self.norm_square = memory * self.norm_square + (1 - memory) * logarithm**2

    @property
    def usual_norm(self) -> float | None:
        """The largest gradient that is usual lately; None while too few are known."""
        if self.good < WARMUP:
            return None
        spread = math.sqrt(max(self.norm_square - self.norm_mean**2, 0.0))
        return math.exp(self.norm_mean + MAX_SPREADS * max(spread, MIN_SPREAD))


@dataclass
class StepResult:
    """Of one step, over all ranks."""

    iter_num: int  # steps before it
    n_learned: int
    n_filled: int  # tokens without padding
    n_tokens: int
    loss: float = math.nan  # the mean over the learned tokens
    norm: float = math.nan  # of the gradient, before it is clipped
    skipped: str | None = None  # why the step was not taken
    shortened: str | None = None  # why it was taken with a smaller gradient

    @property
    def notice(self) -> str | None:
        """What a person should be told of the step."""
        if self.skipped:
            return f"{self.skipped}; the step is skipped"
        return f"{self.shortened}; it is shortened" if self.shortened else None


def accumulate_gradients(
    loss_module: nn.Module, batches: Sequence[Batch], device: Device, loss_scale: float = 1.0
) -> tuple[Tensor, tuple[int, int, int]]:
    """
    Add the gradients of the mean loss over these micro-batches, of all ranks, to the parameters'; that of pairs is a
    mean of its own, which is added. Returns the loss, a scalar on the device, and how many tokens are learned, filled
    and there.
    """
    counts = [
        sum(batch.n_supervised for batch in batches),
        sum(batch.n_filled for batch in batches),
        sum(batch.idx.size for batch in batches),
        *(sum(b.n_averaged for b in batches if (b.reference is not None) == pairs) for pairs in (False, True)),
    ]
    n_learned, n_filled, n_tokens, *n_averaged = (
        int(n) for n in sum_ranks(torch.tensor(counts, dtype=torch.float64), device)
    )
    total = torch.zeros((), device=device.name)
    for i, batch in enumerate(batches):
        is_last = i == len(batches) - 1
        # DDP averages over ranks once, after the last; a sharded model has no space for gradients that are whole
        no_sync = getattr(loss_module, "no_sync", contextlib.nullcontext)
        with contextlib.nullcontext() if is_last else no_sync():
            with device.autocast():
                loss = loss_module(**batch.tensors or device.tensors(batch.arrays))
            share = batch.n_averaged / n_averaged[batch.reference is not None]
            (loss * (share * device.world_size * loss_scale)).backward()  # DDP takes the mean over ranks
        total += loss.detach() * share
    if device.world_size > 1:
        total = sum_ranks(total.double(), device).to(device.name)
    return total, (n_learned, n_filled, n_tokens)


def apply_update(
    optimizer: Optimizer,
    norm: Tensor,
    lr: float,
    config: TrainConfig,
    is_good: Tensor | None = None,
    loss_scale: float = 1.0,
    usual_norm: float | None = None,
) -> None:
    """
    Clip the gradients and take the optimizer's step. norm: theirs, without the loss's scale. is_good: whether the step
    is taken at all. usual_norm: what they are clipped to beside grad_clip.
    """
    limit = min((limit for limit in (config.grad_clip, usual_norm) if limit), default=math.inf)
    muon_lr = config.muon_lr * lr / max(config.learning_rate, 1e-12)
    optimizer.step(lr, muon_lr, (limit / (norm + 1e-6)).clamp(max=1.0) / loss_scale, is_good)


class Stepper:
    """
    Takes the steps of a run. A GPU decides by itself whether a step can be trusted: Python launches the next one and
    reads then what the last one gave, so that neither waits for the other. told: gets each result once it is known.
    """

    def __init__(
        self,
        loss_module: nn.Module,
        optimizer: Optimizer,
        progress: Progress,
        device: Device,
        config: TrainConfig,
        told: Callable[[StepResult], None],
    ) -> None:
        self.loss_module, self.optimizer, self.progress = loss_module, optimizer, progress
        self.device, self.config, self.told = device, config, told
        self.is_late = device.type == "cuda" and device.dtype != "float16"  # whose loss's scale the next step needs
        self.pending: tuple[StepResult, Tensor, torch.cuda.Event | None] | None = None  # with its loss and norm

    def take(self, batches: Sequence[Batch], lr: float) -> StepResult:
        """
        One step: the loss is the mean over the learned tokens of all micro-batches of all ranks. A step that is no
        number is skipped, one whose gradient leaps is shortened; the result says why, once it is settled.
        """
        progress = self.progress
        loss, counts = accumulate_gradients(self.loss_module, batches, self.device, progress.loss_scale)
        norm = self.optimizer.grad_norm() / progress.loss_scale
        self.settle()  # the last step says what norm is usual
        scale, usual = progress.loss_scale, progress.usual_norm
        apply_update(self.optimizer, norm, lr, self.config, (loss + norm).isfinite(), scale, usual)
        self.optimizer.zero_grad()
        result, figures, event = StepResult(progress.iter_num, *counts), torch.stack([loss, norm]), None
        if figures.is_cuda:
            figures = torch.empty(2, pin_memory=True).copy_(figures, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self.pending = result, figures, event
        if not self.is_late:
            self.settle()
        return result

    def settle(self) -> None:
        """Wait for the loss and the norm of the last step, if it is not settled yet, and take note of them."""
        if self.pending is None:
            return
        result, figures, event = self.pending
        self.pending, progress = None, self.progress
        if event:
            event.synchronize()
        result.loss, result.norm = figures.tolist()
        result.skipped = reason_to_skip(result, self.device, progress.loss_scale)
        if result.skipped:
            progress.skipped += 1
        elif math.isfinite(result.norm):
            result.shortened = self.reason_to_shorten(result)
            progress.step_taken(result.loss, result.norm)
            if self.device.dtype == "float16" and progress.good % 2000 == 0:
                progress.loss_scale *= 2
        else:
            progress.loss_scale /= 2  # float16's way to find its scale
        if not math.isfinite(result.loss + result.norm):
            self.optimizer.steps -= 1
        self.told(result)

    def reason_to_shorten(self, result: StepResult) -> str | None:
        """Why the gradient was shortened, where it leapt so far that a person should know."""
        progress, norm = self.progress, result.norm
        usual, limit = math.exp(progress.norm_mean), progress.usual_norm
        if limit is None or norm <= max(limit, TOLD_LEAP * usual, self.config.grad_clip or 0.0):
            return None
        loss = f"the loss {result.loss:.2f} after {progress.smoothed:.2f}"
        return f"the gradient is {norm / usual:.0f} times the usual, {loss}"


def reason_to_skip(result: StepResult, device: Device, loss_scale: float) -> str | None:
    """What is wrong with a step, in words; None if nothing is, or what a smaller loss_scale may mend."""
    if not math.isfinite(result.loss):
        return f"the loss is {result.loss}"
    # in float16 the scale of the loss was too high, that is all; where none is left it is something else
    if not math.isfinite(result.norm) and (device.dtype != "float16" or loss_scale <= 1):
        return f"the gradient is {result.norm}"
    return None

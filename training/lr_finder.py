"""
A learning rate found by trying: steps at rates that rise from far too low to far too high, and the loss against the
rate in a picture (Smith 2017). The weights that these steps leave are thrown away.

    $ python train.py config/finetune_chat.py --find_lr=true
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch.nn as nn

from dataset.loader import Loader
from runtime import figure
from runtime.device import Device
from runtime.errors import InputError
from training.optimizer import Optimizer
from training.settings import TrainConfig
from training.step import accumulate_gradients, apply_update

LOWEST_RATE, HIGHEST_RATE, STEPS = 1e-6, 1.0, 100
SMOOTHING = 0.8  # of the mean so far is kept at each loss: a batch alone says little
STOP_FACTOR = 1.3  # the search ends where the smoothed loss is so many times the lowest
SAFETY_FACTOR = 2  # a run's rate is so many times lower than that of the lowest loss, which comes later than its cause


def try_rates(
    loss_module: nn.Module,
    optimizer: Optimizer,
    loader: Loader,
    batch_size: int,
    device: Device,
    config: TrainConfig,
    say: Callable[[str], None],
) -> tuple[list[float], list[float]]:
    """
    (rates, smoothed losses) of steps at rising rates, until the loss is far above its lowest. Raises InputError if the
    first loss is no number.
    """
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    for i, rate in enumerate(np.geomspace(LOWEST_RATE, HIGHEST_RATE, STEPS)):
        batches = [loader.get_batch(batch_size) for _ in range(config.gradient_accumulation_steps)]
        total, _ = accumulate_gradients(loss_module, batches, device)
        norm, loss = optimizer.grad_norm(), total.item()
        if not math.isfinite(loss + norm.item()):
            if not rates:
                raise InputError(f"the first loss is {loss}, its gradient {norm.item()}: no rate can learn from that")
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        rates.append(float(rate))
        losses.append(mean / (1 - SMOOTHING ** (i + 1)))
        say(f"rate {rate:.1e}: loss {losses[-1]:.4f}")
        if i > 10 and losses[-1] > STOP_FACTOR * min(losses):
            break
        apply_update(optimizer, norm, float(rate), config)
        optimizer.zero_grad()
    return rates, losses


def suggest_rate(rates: Sequence[float], losses: Sequence[float]) -> float | None:
    """The highest rate for a run: half the one at the lowest loss. None if the loss never fell by 2%."""
    lowest = int(np.argmin(losses))
    return None if lowest == 0 or losses[lowest] > 0.98 * losses[0] else rates[lowest] / SAFETY_FACTOR


def plot(path: Path, rates: Sequence[float], losses: Sequence[float], suggestion: float | None) -> None:
    """Draw the losses against the rates, with a line at the suggested rate."""
    picture = figure.new_figure()
    axes = picture.subplots()
    axes.plot(rates, losses, color=figure.BLUE)
    if suggestion:
        axes.axvline(suggestion, color=figure.GREY, linestyle="--", linewidth=1, label=f"suggested: {suggestion:.1e}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss per supervised token (nats), smoothed")
    axes.set_ylim(0.98 * min(losses), min(max(losses), 1.1 * losses[0]))
    figure.style_axes(axes, grid="both")
    figure.save(picture, path)


def report(out_dir: Path, rates: Sequence[float], losses: Sequence[float], say: Callable[[str], None]) -> None:
    """Draw find_lr.png in out_dir and say which rate to take."""
    path, suggestion = out_dir / "find_lr.png", suggest_rate(rates, losses)
    plot(path, rates, losses, suggestion)
    if suggestion is None:
        say(f"wrote {path}; the loss fell at no rate: more data a step, or a look at the data")
    else:
        lowest = rates[int(np.argmin(losses))]
        say(f"wrote {path}; the loss was lowest at {lowest:.1e}: try --learning_rate={suggestion:.1e}")

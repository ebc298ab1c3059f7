"""
A learning rate found by trying: steps at rates that rise from far too low to far too high, the loss against the rate
in a picture (Smith 2017). The weights that these steps leave are thrown away.

    $ python train.py config/finetune_chat.py --find_lr=true
"""

import math
from pathlib import Path

import numpy as np

from runtime import atomic
from training import step

LOWEST_RATE, HIGHEST_RATE, STEPS = 1e-6, 1.0, 100
SMOOTHING = 0.8  # of the mean before each loss; a batch alone says little
STOP_FACTOR = 1.3  # times the lowest loss is the end
SAFETY_FACTOR = 2  # the highest rate of a run is this much below that of the lowest loss, which lags behind


def try_rates(model, optimizer, loader, batch_size, where, config, say):
    """(rates, smoothed losses) of steps at rising rates, until the loss leaps."""
    rates, found, mean = [], [], 0.0
    for i, rate in enumerate(np.geomspace(LOWEST_RATE, HIGHEST_RATE, STEPS)):
        batches = [loader.get_batch(batch_size) for _ in range(config.gradient_accumulation_steps)]
        each = step.accumulate_gradients(model, batches, where)
        norm = optimizer.grad_norm().item()
        if not math.isfinite(each.loss + norm):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * each.loss
        rates.append(float(rate))
        found.append(mean / (1 - SMOOTHING ** (i + 1)))
        say(f"rate {rate:.1e}: loss {found[-1]:.4f}")
        if i > 10 and found[-1] > STOP_FACTOR * min(found):
            break
        step.apply_update(optimizer, norm, rate, config)
        optimizer.zero_grad()
    return rates, found


def suggest_rate(rates, found):
    """The highest rate for a run: half the one at the lowest loss; None if the loss never fell."""
    lowest = int(np.argmin(found))
    return None if lowest == 0 or found[lowest] > 0.98 * found[0] else rates[lowest] / SAFETY_FACTOR


def plot(path, rates, found, rate):
    """Draw the losses against the rates; rate: the suggested one, or None."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = picture.subplots()
    axes.plot(rates, found, color="#1f6fb4")
    if rate:
        axes.axvline(rate, color="#9a9a9a", linestyle="--", linewidth=1, label=f"suggested: {rate:.1e}")
        axes.legend()
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss per supervised token (nats), smoothed")
    axes.set_ylim(0.98 * min(found), min(max(found), 1.1 * found[0]))
    axes.grid(alpha=0.3)
    with atomic.file(path) as new:
        picture.savefig(new, format="png")


def report(out_dir, rates, found, say):
    """Draw find_lr.png in out_dir and say what the run should have."""
    path, rate = Path(out_dir) / "find_lr.png", suggest_rate(rates, found)
    plot(path, rates, found, rate)
    if rate is None:
        say(f"wrote {path}; the loss fell at no rate: more data a step, or a look at the data")
    else:
        say(f"wrote {path}; the loss was lowest at {rates[int(np.argmin(found))]:.1e}: try --learning_rate={rate:.1e}")

"""The learning rate over a run."""

import math

from training.settings import TrainConfig

WARMUP_ITERS = 50  # unless a run says how many
MAX_WARMUP_SHARE = (
    0.05  # of a run that is bounded by minutes and does not say: a slow machine must not warm up to the end
)


def get_lr(iter_num: int, elapsed: float, reserve: float, config: TrainConfig) -> float:
    """
    The rate of a step: linear warm-up, then decay to min_lr over the steps or the minutes, whichever will end first.

    The decay is a cosine, or with schedule=linear flat until `decay_from` of the run and then a line. elapsed: seconds
    so far. reserve: seconds that the run's last evaluation and save will take.
    """
    warmup_iters = WARMUP_ITERS if config.warmup_iters is None else config.warmup_iters
    warmup, progress = (iter_num + 1) / (warmup_iters + 1), 0.0
    if config.max_iters > warmup_iters:
        progress = (iter_num - warmup_iters) / (config.max_iters - warmup_iters)
    if config.max_minutes is not None:
        share_spent = elapsed / max(60 * config.max_minutes - reserve, 1e-9)
        if config.warmup_iters is None:
            warmup = max(warmup, share_spent / MAX_WARMUP_SHARE)
        progress = max(progress, share_spent)
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "linear":
        share = min(1.0, (1 - progress) / (1 - config.decay_from))
    else:
        share = 0.5 * (1 + math.cos(math.pi * progress))
    min_lr = config.learning_rate / 10 if config.min_lr is None else config.min_lr
    return min(warmup, 1.0) * (min_lr + share * (config.learning_rate - min_lr))

"""
The learning rate over a run, and what a person is told of its time.
"""

import math

MAX_WARMUP_SHARE = 0.05  # of the minutes, at most


def get_lr(iter_num, elapsed, reserve, config):
    """
    The rate of a step: linear warm-up, then decay to min_lr over the steps or the minutes, whichever will end first: a
    cosine, or (schedule=linear) flat until decay_from of the run and then a line. elapsed: seconds so far; reserve:
    seconds that the end of the run takes.
    """
    warmed, progress = (iter_num + 1) / (config.warmup_iters + 1), 0.0
    if config.max_iters > config.warmup_iters:
        progress = (iter_num - config.warmup_iters) / (config.max_iters - config.warmup_iters)
    if config.max_minutes is not None:
        spent = elapsed / max(60 * config.max_minutes - reserve, 1e-9)
        warmed = max(warmed, spent / MAX_WARMUP_SHARE)
        progress = max(progress, spent)
    progress = min(max(progress, 0.0), 1.0)
    if config.schedule == "linear":
        share = min(1.0, (1 - progress) / (1 - config.decay_from))
    else:
        share = 0.5 * (1 + math.cos(math.pi * progress))
    min_lr = config.learning_rate / 10 if config.min_lr is None else config.min_lr
    return min(warmed, 1.0) * (min_lr + share * (config.learning_rate - min_lr))

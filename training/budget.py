"""How long a run may take, and how long it will."""

from runtime.humanize import duration


def eta(iter_num, elapsed, seconds, config):
    """How long the run will take from here at `seconds` a step, for people."""
    left = (config.max_iters - iter_num) * seconds
    if config.max_minutes is not None:
        left = min(left, 60 * config.max_minutes - elapsed)
    return duration(max(left, 0))

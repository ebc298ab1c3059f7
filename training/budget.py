"""The time of a run: how much there is, how many batches an evaluation may take, and how long the rest will be."""

import time
from collections.abc import Callable

from runtime.humanize import duration
from training.settings import TrainConfig

EVAL_SHARE = 0.1  # of a run that is bounded by minutes may be spent on each evaluation, at most
SAVE_SECONDS_PER_PARAMETER = 3e-8  # a guess for the first save: 30 s for 1B parameters, and a second


class Budget:
    """
    started: when the minutes began to count, seconds since 1970. `reserve` is the seconds that the run's last
    evaluation and save will take: at first a guess from one batch, then as measured.
    """

    def __init__(self, config: TrainConfig, started: float, num_params: int) -> None:
        self.config, self.started = config, started
        self.eval_batches = config.eval_iters
        self.save_seconds = SAVE_SECONDS_PER_PARAMETER * num_params + 1.0
        self.reserve = 0.0

    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.time() - self.started

    def plan(self, estimate_loss: Callable[[int], float]) -> None:
        """
        Where minutes are given, time an evaluation of one batch, and have evaluations take a tenth of them at most.
        """
        if self.config.max_minutes is None or self.config.eval_only:
            return
        evaluation_started = time.time()
        estimate_loss(1)
        seconds = time.time() - evaluation_started
        self.eval_batches = max(1, min(self.eval_batches, int(60 * EVAL_SHARE * self.config.max_minutes / seconds)))
        self.reserve = self.eval_batches * seconds + self.save_seconds

    def is_over(self) -> bool:
        """Whether what is left is needed for the last evaluation and save."""
        minutes = self.config.max_minutes
        return minutes is not None and self.elapsed() + self.reserve >= 60 * minutes

    def evaluation_is_due(self, iter_num: int) -> bool:
        """
        Whether the run is evaluated before this step. One that is bounded by minutes does not show where it began.
        """
        return iter_num % self.config.eval_interval == 0 and (iter_num > 0 or self.config.max_minutes is None)

    def evaluation_took(self, seconds: float, iter_num: int) -> None:
        """Note how long an evaluation took, with its save unless it was the first."""
        self.reserve = 1.2 * seconds + (self.save_seconds if iter_num == 0 else 0)

    def eta(self, iter_num: int, step_seconds: float) -> str:
        """How long the run will go on from here, for people."""
        seconds = (self.config.max_iters - iter_num) * step_seconds
        if self.config.max_minutes is not None:
            seconds = min(seconds, 60 * self.config.max_minutes - self.elapsed())
        return duration(max(seconds, 0))

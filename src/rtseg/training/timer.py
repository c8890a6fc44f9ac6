"""How fast a training is, and how long it still takes."""
import math
import time
from typing import Optional


class Timer:
    """Times the steps of this process. The first one compiles the graph and counts in no rate; nor does an evaluation.

    Args:
        images_per_step: of all ranks together.
    """

    def __init__(self, images_per_step: int):
        self.images_per_step = images_per_step
        self.begin = time.perf_counter()
        self.compiled_at: Optional[float] = None  # end of the first step
        self.steps = 0                            # after the first
        self.step_seconds = 0.0                   # that they took
        self.epoch_steps = 0                      # of this epoch, with the first
        self.epoch_seconds = 0.0
        self.epoch_rate = math.nan                # images/s
        self._epoch_begin = self._counted_from = self.begin
        self._counted_steps = 0

    def begin_epoch(self) -> None:
        """Before the first step of an epoch, or of the rest of one."""
        self._epoch_begin = self._counted_from = time.perf_counter()
        self.epoch_steps = self._counted_steps = 0

    def end_step(self) -> None:
        """After every step."""
        self.epoch_steps += 1
        if self.compiled_at is None:
            self.compiled_at = self._counted_from = time.perf_counter()
        else:
            self._counted_steps += 1

    def end_steps(self) -> None:
        """After the last step of an epoch, or when it is broken off; the device has finished it."""
        now = time.perf_counter()
        self.epoch_seconds = now - self._epoch_begin
        self.steps += self._counted_steps
        self.step_seconds += now - self._counted_from
        self.epoch_rate = self._rate(self._counted_steps, now - self._counted_from)

    @property
    def total_seconds(self) -> float:
        """Since this process began to train."""
        return time.perf_counter() - self.begin

    @property
    def rate(self) -> float:
        """images/s over all epochs so far; NaN if there was but one step."""
        return self._rate(self.steps, self.step_seconds)

    def seconds_left(self, steps: int) -> float:
        """How long so many steps will take, evaluations included; NaN if there was but one step."""
        if self.compiled_at is None or not self.steps:
            return math.nan
        return steps * (time.perf_counter() - self.compiled_at) / self.steps

    def _rate(self, steps: int, seconds: float) -> float:
        return steps * self.images_per_step / seconds if steps else math.nan

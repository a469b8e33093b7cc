"""Looks at a GPU between samples. Those that were taken while heat or its power supply lowered its clock are discarded,
and it is left to cool, as in nvbench."""

from __future__ import annotations

import time
from collections.abc import Callable

from vlbench.measuring.nvml import Gpu

LOOK_SECONDS = 0.1
FIRST_COOLING_SECONDS, LONGEST_COOLING_SECONDS = 0.5, 4.0  # each time twice as long, until it is no longer slowed
MOST_COOLING_SECONDS = 15.0  # in all
HEAT_UP_SECONDS = 0.3  # the clock falls while a GPU rests, and takes that long to rise again


class ThrottleWatch:
    """The looks of one measurement.

    Attributes:
        discarded: samples so far.
    """

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.discarded = 0
        self._cooled_seconds = 0.0
        self._looked_at = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last look was 0.1 s ago, or longer."""
        return time.monotonic() >= self._looked_at + LOOK_SECONDS

    def slowed(self) -> bool:
        """Whether the GPU is slowed, so that what it did since the last look does not count.

        False once 15 s of cooling did not help: the samples are then kept, and the measurement is contended.
        """
        self._looked_at = time.monotonic()
        return self._cooled_seconds < MOST_COOLING_SECONDS and self.gpu.slowed()

    def cool(self, run: Callable[[], object]) -> float:
        """Waits until the GPU is no longer slowed, then heats it up again with passes that do not count.

        Args:
            run: one pass; returns when the GPU is done.

        Returns:
            The seconds that it took.
        """
        begun, rest = time.monotonic(), FIRST_COOLING_SECONDS
        while True:
            time.sleep(rest)
            self._cooled_seconds += rest
            if not self.slowed():
                break
            rest = min(2 * rest, LONGEST_COOLING_SECONDS)
        ready_at = time.monotonic() + HEAT_UP_SECONDS
        while time.monotonic() < ready_at:
            run()
        self._looked_at = time.monotonic()
        return self._looked_at - begun

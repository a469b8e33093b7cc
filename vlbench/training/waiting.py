"""How long training waits for its batches."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch


class AwaitedBatches:
    """Batches in order, and the time for which the device had nothing to do until they came.

    A GPU still computes the step before while the next batch is awaited. Its own clock therefore measures from the end
    of that work to the arrival of the batch, without anybody waiting for it.

    Args:
        device: where the batches are used.
    """

    def __init__(self, batches: Iterator[Any], device: torch.device) -> None:
        self.batches, self.device = batches, device
        self.seconds = 0.0  # not taken yet
        self.gaps: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()  # which the GPU may not have come to yet

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.device.type != "cuda":
            start = time.perf_counter()
            batch = next(self.batches)
            self.seconds += time.perf_counter() - start
            return batch
        work_ends = self._event()
        batch = next(self.batches)
        self.gaps.append((work_ends, self._event()))
        return batch

    def take_seconds(self) -> float:
        """The seconds of waiting since the last call, as far as the GPU has come."""
        while self.gaps and self.gaps[0][1].query():
            work_ends, batch_comes = self.gaps.popleft()
            self.seconds += work_ends.elapsed_time(batch_comes) / 1000
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

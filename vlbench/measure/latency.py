"""Times forward passes: end to end with nothing hooked, and by stage in a pass of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import torch
from torch import nn

STEADY_WITHIN = 0.03
MOST_SAMPLES = 5_000
WINDOW_MS = 100  # what a window of the warm-up's test lasts at least, so that one late pass does not decide it


class PassTimer:
    """Times one module's forward pass, in milliseconds: warmed up, end to end with nothing hooked, and by stage.

    Args:
        forward: one inference; called in inference mode.
        stages: modules whose calls are timed, by name.
        device: where `forward` runs; CUDA is timed by events, all else by `time.perf_counter_ns`.
    """

    def __init__(self, forward: Callable[[], object], stages: dict[str, nn.Module], device: torch.device) -> None:
        self.forward, self.stages, self.device = forward, stages, device
        self.timer = timer_for(device)

    def first(self) -> float:
        """The first pass, which warm-up goes on from."""
        with torch.inference_mode():
            return self.timer(self.forward)

    def warm_up(self, first_ms: float, seconds: float) -> tuple[list[float], bool]:
        """Runs until the medians of two successive windows differ by less than 3%, or the time is over.

        The first pass counts towards the time; where it took all of it, it is all the warm-up, and whether that was
        enough, `settled` tells from the samples.

        Returns:
            The milliseconds of each pass, the first included, and whether their time had settled.
        """
        samples, left = [first_ms], seconds - first_ms / 1e3
        if left < 0:
            return samples, False
        window = min(200, max(1, round(WINDOW_MS / max(first_ms, 1e-3))))
        with torch.inference_mode(), collector_paused():
            deadline = time.monotonic() + left
            while True:
                samples.append(self.timer(self.forward))
                if len(samples) >= 2 * window and _agree(samples[-2 * window : -window], samples[-window:]):
                    return samples, True
                if time.monotonic() > deadline:
                    return samples, False

    def end_to_end(self, seconds: float, *, least: int = 1, discarded: int = 0) -> list[float]:
        """Samples until the time is over, at least so many, after so many passes that are not timed."""
        with torch.inference_mode(), collector_paused():
            for _ in range(discarded):
                self.forward()
            return self._sample(lambda: self.timer(self.forward), seconds, least)

    def by_stage(self, seconds: float, *, least: int = 1, discarded: int = 0) -> dict[str, list[float]]:
        """Samples of each stage; of the pass that they were taken in as `total`, and of what lies between the outermost
        stages as `rest`. Empty without stages."""
        if not self.stages:
            return {}
        samples: dict[str, list[float]] = {"total": [], **{name: [] for name in self.stages}}
        with torch.inference_mode(), collector_paused(), _stage_marks(self.stages, self.device) as read:
            for _ in range(discarded):
                self.forward()
                read()

            def staged() -> float:
                total = self.timer(self.forward)
                samples["total"].append(total)
                for name, value in read().items():
                    samples[name].append(value)
                return total

            self._sample(staged, seconds, least)
        parts = [samples[name] for name in self.stages if "." not in name]
        samples["rest"] = [total - sum(spent) for total, *spent in zip(samples["total"], *parts, strict=True)]
        return samples

    @staticmethod
    def settled(warm_up: list[float], end_to_end: list[float], total: list[float]) -> bool:
        """Whether a slow pass had settled: its samples agree with the pass before or after them."""
        return _agree(warm_up[-1:], end_to_end) or (bool(total) and _agree(end_to_end, total))

    @staticmethod
    def _sample(sample: Callable[[], float], seconds: float, least: int) -> list[float]:
        deadline = time.monotonic() + seconds
        samples: list[float] = []
        while len(samples) < least or (time.monotonic() < deadline and len(samples) < MOST_SAMPLES):
            samples.append(sample())
        return samples


def _agree(before: list[float], after: list[float]) -> bool:
    return abs(median(after) / median(before) - 1) < STEADY_WITHIN


def timer_for(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """A function that runs another once and gives its milliseconds."""
    return _time_cuda if device.type == "cuda" else _time_cpu


def _time_cpu(forward: Callable[[], object]) -> float:
    start = time.perf_counter_ns()
    forward()
    return (time.perf_counter_ns() - start) / 1e6


def _time_cuda(forward: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    forward()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


@contextmanager
def _stage_marks(stages: dict[str, nn.Module], device: torch.device) -> Iterator[Callable[[], dict[str, float]]]:
    """Marks the time around each stage; the function it gives reads the last pass's milliseconds by stage."""
    cuda = device.type == "cuda"
    marks: dict[str, list] = {name: [] for name in stages}

    def mark() -> object:
        if not cuda:
            return time.perf_counter_ns()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def read() -> dict[str, float]:
        spent = {}
        for name, times in marks.items():
            pairs = list(zip(times[::2], times[1::2], strict=True))
            spent[name] = sum(a.elapsed_time(b) if cuda else (b - a) / 1e6 for a, b in pairs)
            times.clear()
        return spent

    handles = []
    for name, module in stages.items():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: marks[name].append(mark())))
        handles.append(module.register_forward_hook(lambda *_, name=name: marks[name].append(mark())))
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keeps Python's garbage collector out of the samples."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

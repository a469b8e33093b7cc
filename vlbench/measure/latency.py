"""Times forward passes: end to end without hooks, and by stage in separate passes."""

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
WINDOW_MS = 100  # shortest window that the warm-up compares, so that a single slow pass does not decide


class PassTimer:
    """Times a forward pass in milliseconds: during warm-up, end to end without hooks, and by stage.

    Args:
        forward: one forward pass; called in inference mode.
        stages: modules whose calls are timed, by name.
        device: where `forward` runs. CUDA is timed by events, other devices by `time.perf_counter_ns`.
    """

    def __init__(self, forward: Callable[[], object], stages: dict[str, nn.Module], device: torch.device) -> None:
        self.forward, self.stages, self.device = forward, stages, device
        self.timer = timer_for(device)

    def first(self) -> float:
        """Milliseconds of the first pass, from which the warm-up continues."""
        with torch.inference_mode():
            return self.timer(self.forward)

    def warm_up(self, first_ms: float, seconds: float) -> tuple[list[float], bool]:
        """Runs passes until the medians of two successive windows differ by less than 3%, or the time is over.

        The first pass counts towards the time. If it took all of it, no other pass follows; `settled` then decides from
        the samples whether that was enough.

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
        """Milliseconds of passes until the time is over, at least `least`, after `discarded` passes without timing."""
        with torch.inference_mode(), collector_paused():
            for _ in range(discarded):
                self.forward()
            return self._sample(lambda: self.timer(self.forward), seconds, least)

    def by_stage(self, seconds: float, *, least: int = 1, discarded: int = 0) -> dict[str, list[float]]:
        """Milliseconds of each stage; `total` is the whole pass and `rest` the time between the outermost stages.

        Empty without stages.
        """
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
        outermost = [samples[name] for name in self.stages if "." not in name]
        samples["rest"] = [total - sum(spent) for total, *spent in zip(samples["total"], *outermost, strict=True)]
        return samples

    @staticmethod
    def settled(warm_up: list[float], end_to_end: list[float], total: list[float]) -> bool:
        """Whether slow passes had settled: the samples agree with the last warm-up pass or with the staged passes."""
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
    """A function that calls its argument once and returns the milliseconds that it took."""
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
    """Records when each stage begins and ends; yields a function that reads the last pass's milliseconds by stage."""
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
            spent[name] = sum(start.elapsed_time(end) if cuda else (end - start) / 1e6 for start, end in pairs)
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
    """Pauses Python's garbage collector, so that it does not run during a sample."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

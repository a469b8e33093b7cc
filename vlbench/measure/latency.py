"""Times forward passes: end to end with nothing hooked, and by stage in a pass of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

SLOW_MS = 1_000
STEADY_WITHIN = 0.03
WARM_UP_SHARE, END_TO_END_SHARE = 0.2, 0.7  # of the budget, both counted from its start
LEAST_SAMPLES, LEAST_STAGE_SAMPLES, MOST_SAMPLES = 6, 2, 5_000  # six carry an interval of the median


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Raw samples in milliseconds, in the order taken. The total of the staged pass is `by_stage["total"]`."""

    end_to_end: list[float]
    by_stage: dict[str, list[float]]
    warm_up: list[float]
    steady: bool


def measure_latency(
    forward: Callable[[], object],
    stages: dict[str, nn.Module],
    *,
    device: torch.device,
    budget_seconds: float,
    report: Callable[[str, int], None] = lambda phase, samples: None,
) -> Latency:
    """Warms `forward` up until it is steady, then times it, then times its stages, within a budget.

    A model too slow for the budget is still timed six times end to end and twice by stage.

    Args:
        forward: one inference; called in inference mode.
        stages: modules whose calls are timed, by name.
        device: where `forward` runs; CUDA is timed by events, all else by `time.perf_counter_ns`.
        budget_seconds: for everything here, warm-up included.
        report: told of the phase and the samples so far, between samples.
    """
    timer = timer_for(device)
    start = time.monotonic()
    with torch.inference_mode(), _collector_paused():
        warm_up, steady = _warm_up(lambda: timer(forward), start + WARM_UP_SHARE * budget_seconds, report)
        end_to_end = _sample(
            lambda: timer(forward),
            start + END_TO_END_SHARE * budget_seconds,
            LEAST_SAMPLES,
            lambda count: report("latency", count),
        )
        by_stage: dict[str, list[float]] = {"total": [], **{name: [] for name in stages}}
        with _stage_marks(stages, device) as read:

            def staged() -> float:
                total = timer(forward)
                by_stage["total"].append(total)
                for name, value in read().items():
                    by_stage[name].append(value)
                return total

            _sample(
                staged, start + budget_seconds, LEAST_STAGE_SAMPLES, lambda count: report("latency by stage", count)
            )
    return Latency(end_to_end=end_to_end, by_stage=by_stage, warm_up=warm_up, steady=steady)


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


def _warm_up(
    sample: Callable[[], float], deadline: float, report: Callable[[str, int], None]
) -> tuple[list[float], bool]:
    """Runs until the medians of two successive windows differ by less than 3%, or the deadline passes."""
    samples = [sample()]
    window = 1 if samples[0] > SLOW_MS else max(3, min(200, round(200 / max(samples[0], 1e-3))))
    while True:
        samples.append(sample())
        report("warm-up", len(samples))
        if len(samples) >= 2 * window:
            before, last = median(samples[-2 * window : -window]), median(samples[-window:])
            if abs(last / before - 1) < STEADY_WITHIN:
                return samples, True
        if time.monotonic() > deadline:
            return samples, False


def _sample(sample: Callable[[], float], deadline: float, least: int, report: Callable[[int], None]) -> list[float]:
    samples: list[float] = []
    told = time.monotonic()
    while len(samples) < least or (time.monotonic() < deadline and len(samples) < MOST_SAMPLES):
        samples.append(sample())
        if time.monotonic() - told > 1:
            report(len(samples))
            told = time.monotonic()
    return samples


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
def _collector_paused() -> Iterator[None]:
    """Keeps Python's garbage collector out of the samples."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

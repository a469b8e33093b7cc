"""Times forward passes: end to end without hooks, and by stage in separate passes."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

import torch
from torch import nn

from vlbench.measuring.throttling import ThrottleWatch

T = TypeVar("T")

STEADY_WITHIN = 0.03
MOST_SAMPLES = 5_000
WINDOW_MS = 100  # shortest window that the warm-up compares, so that a single slow pass does not decide
MOST_WINDOW = 200  # passes
LOADING_PASSES = 3  # after the first, on a GPU: CUDA loads a kernel at its first launch, which takes seconds in all
LEAST_GPU_WARM_UP_MS = 300  # a GPU's clock takes that long to rise


class PassTimer:
    """Times a forward pass in milliseconds: during warm-up, end to end without hooks, and by stage.

    Args:
        forward: one forward pass; called in inference mode.
        stages: modules whose calls are timed, by name.
        device: where `forward` runs. CUDA is timed by events, other devices by `time.perf_counter_ns`.

    Attributes:
        before: called before each pass that is timed, outside its time; None calls nothing.
        throttling: discards the samples that a GPU takes while it is slowed; None keeps all.
    """

    def __init__(self, forward: Callable[[], object], stages: dict[str, nn.Module], device: torch.device) -> None:
        self.forward, self.stages, self.device = forward, stages, device
        self.before: Callable[[], object] | None = None
        self.throttling: ThrottleWatch | None = None
        self._time = timer_for(device)

    def timer(self, forward: Callable[[], object]) -> float:
        if self.before is not None:
            self.before()
        return self._time(forward)

    def first(self) -> float:
        """Milliseconds of the first pass, from which the warm-up continues."""
        with torch.inference_mode():
            return self.timer(self.forward)

    def warm_up(self, first_ms: float, seconds: float) -> tuple[list[float], bool]:
        """Runs passes until the medians of two successive windows differ by less than 3%, or the time is over.

        On a CPU the first pass counts towards the time. If it took all of it, no other pass follows; `settled` then
        decides from the samples whether that was enough. On a GPU the first passes load kernels and count for nothing,
        and the others go on for 0.3 s at least.

        Returns:
            The milliseconds of each pass, the first included, and whether their time had settled.
        """
        samples, left = [first_ms], seconds - first_ms / 1e3
        loading, least_ms = 0, 0  # the passes that count for nothing; the least that the others take together
        with torch.inference_mode(), collector_paused():
            if self.device.type == "cuda":
                samples += self._sample(lambda: self.timer(self.forward), 0, LOADING_PASSES)
                left, loading, least_ms = seconds, len(samples), LEAST_GPU_WARM_UP_MS
            elif left < 0:
                return samples, False
            deadline = time.monotonic() + left
            while True:
                samples.append(self.timer(self.forward))
                if _steady(samples[loading:], least_ms):
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
        with torch.inference_mode(), collector_paused(), _stage_marks(self.stages, self.device) as read:
            for _ in range(discarded):
                self.forward()
                read()

            passes = self._sample(lambda: {"total": self.timer(self.forward), **read()}, seconds, least)
        samples = {name: [times[name] for times in passes] for name in ("total", *self.stages)}
        outermost = [samples[name] for name in self.stages if "." not in name]
        samples["rest"] = [total - sum(spent) for total, *spent in zip(samples["total"], *outermost, strict=True)]
        return samples

    @staticmethod
    def settled(warm_up: list[float], end_to_end: list[float], total: list[float]) -> bool:
        """Whether slow passes had settled: the samples agree with the last warm-up pass or with the staged passes."""
        return _agree(warm_up[-1:], end_to_end) or (bool(total) and _agree(end_to_end, total))

    def _sample(self, sample: Callable[[], T], seconds: float, least: int) -> list[T]:
        deadline = time.monotonic() + seconds
        samples: list[T] = []
        clean = 0  # how many of them were taken at full speed
        while True:
            samples.append(sample())
            done = len(samples) >= least and (time.monotonic() >= deadline or len(samples) >= MOST_SAMPLES)
            if self.throttling is not None and (done or self.throttling.due):
                if self.throttling.slowed():
                    self.throttling.discarded += len(samples) - clean
                    del samples[clean:]
                    deadline += self.throttling.cool(lambda: self.timer(self.forward))
                    continue
                clean = len(samples)
            if done:
                return samples


def _steady(samples: list[float], least_ms: float) -> bool:
    """Whether the last two windows agree. A window is sized by the latest passes: the first ones may be slower."""
    window = min(MOST_WINDOW, max(1, round(WINDOW_MS / max(median(samples[1:][-MOST_WINDOW:] or samples), 1e-3))))
    if len(samples) < 2 * window or sum(samples) < least_ms:
        return False
    return _agree(samples[-2 * window : -window], samples[-window:])


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


def l2_flush(device: torch.device) -> Callable[[], object]:
    """A function that empties a GPU's L2 cache: it zeroes a buffer of four times its size, like triton's do_bench."""
    size = torch.cuda.get_device_properties(device).L2_cache_size
    return torch.empty(4 * size, dtype=torch.int8, device=device).zero_


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

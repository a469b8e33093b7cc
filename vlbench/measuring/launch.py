"""How a pass on a GPU divides between the host, which launches kernels, and the GPU, which runs them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from statistics import median

import torch

from vlbench.measuring.records import Launch

SECONDS, MOST_PASSES = 0.5, 30
PROFILED_PASSES, SLOW_MS = 3, 100  # one of a slow pass, which has thousands of kernels


def measure_launch(forward: Callable[[], object]) -> Launch:
    """Runs some passes one at a time, then a few under the profiler. Call it after all else is timed: from then on the
    profiler's hooks can slow launches."""
    wall_ms: list[float] = []
    host_ms: list[float] = []
    end = time.monotonic() + SECONDS
    with torch.inference_mode():
        while not wall_ms or (time.monotonic() < end and len(wall_ms) < MOST_PASSES):
            torch.cuda.synchronize()
            start = time.perf_counter()
            forward()
            launched = time.perf_counter()
            torch.cuda.synchronize()
            host_ms.append((launched - start) * 1e3)
            wall_ms.append((time.perf_counter() - start) * 1e3)
        busy_ms = _gpu_busy_ms(forward, 1 if median(wall_ms) > SLOW_MS else PROFILED_PASSES)
    return Launch(wall_ms=median(wall_ms), host_ms=median(host_ms), gpu_busy_ms=busy_ms)


def _gpu_busy_ms(forward: Callable[[], object], passes: int) -> float | None:
    """Milliseconds of a pass in which a kernel or a copy ran; None if the profiler shows none."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(passes):
            forward()
        torch.cuda.synchronize()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or ()
        if event.device_type == torch.autograd.DeviceType.CUDA and not getattr(event, "is_user_annotation", False)
    ]
    return covered(spans) / 1e3 / passes if spans else None


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length of the union of spans: kernels of several streams run at once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total

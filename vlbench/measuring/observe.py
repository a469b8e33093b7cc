"""Observes the machine while one restart takes its samples.

The reference kernel, a fixed piece of work, shows changes of the clock and neighbours on the same core. No counter
shows these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlbench.measuring.noise import Interference
from vlbench.measuring.nvml import Gpu, GpuState
from vlbench.measuring.os_counters import ROOT, CounterReader, Counters


class Observer:
    """Records what interferes with the timed blocks of one process. It works outside the samples and never raises.

        observer.start()
        ...a block of samples...
        observer.between_blocks()
        ...another...
        interference = observer.finish()

    If another process of the same measurement takes turns with this one, `pause()` and `resume()` exclude its turns;
    each takes less than a millisecond.

    Args:
        reference: returns the milliseconds of a fixed piece of work, see `reference_kernel`; None times none. The first
            pass after it is 1 to 2% slower (caches, sleeping threads), so run one without timing it.
        gpu: where the model runs; None for a CPU.
        root: the folder that contains `proc` and `sys`; another one in tests.
    """

    def __init__(self, reference: Callable[[], float] | None, gpu: Gpu | None = None, *, root: Path = ROOT) -> None:
        self._reference = reference
        self._reader = CounterReader(root)
        self._gpu = gpu
        self._cores = self._reader.cores()
        self._reference_ms: list[float] = []
        self._gpu_states: list[GpuState] = []
        self._resumed_at: Counters | None = None
        self._seen: Counters | None = None

    def start(self) -> None:
        """Times the reference, then begins to observe. Earlier observations are discarded."""
        self._reference_ms, self._gpu_states, self._seen = [], [], None
        self._time_reference()
        self.resume()

    def between_blocks(self) -> None:
        """Reads the GPU's state and times the reference."""
        self._look_at_gpu()
        self._time_reference()

    def pause(self) -> None:
        """Excludes what happens until `resume`."""
        if self._resumed_at is not None:
            span = self._reader.read().since(self._resumed_at)
            self._seen = span if self._seen is None else self._seen.plus(span)
            self._resumed_at = None

    def resume(self) -> None:
        if self._resumed_at is None:
            self._resumed_at = self._reader.read()

    def finish(self, discarded: int | None = None) -> Interference:
        """Ends the observation. Raises RuntimeError if it was never started.

        Args:
            discarded: samples that did not count as the GPU was slowed; None on a CPU.
        """
        self.pause()
        if self._seen is None:
            raise RuntimeError("the observer was not started")
        self.between_blocks()
        return self._interference(self._seen, discarded)

    def _time_reference(self) -> None:
        if self._reference is not None:
            self._reference_ms.append(self._reference())

    def _look_at_gpu(self) -> None:
        state = self._gpu.look() if self._gpu else None
        if state is not None:
            self._gpu_states.append(state)

    def _interference(self, seen: Counters, discarded: int | None) -> Interference:
        wall = max(seen.wall_seconds, 1e-9)

        def share(seconds: float | None) -> float | None:
            return None if seconds is None else round(seconds / wall, 4)

        others = None if seen.busy_seconds is None else max(0.0, seen.busy_seconds - seen.cpu_seconds)
        if others is not None and self._cores:
            others = min(others, self._cores * wall)  # a tick can be longer than the span
        clocks = [state.clock_mhz for state in self._gpu_states if state.clock_mhz is not None]
        others_on_gpu = [state.others for state in self._gpu_states if state.others is not None]
        return Interference(
            wall_seconds=round(seen.wall_seconds, 4),
            cpu_seconds=round(seen.cpu_seconds, 4),
            cores=self._cores,
            involuntary_context_switches=seen.involuntary_context_switches,
            waiting_threads=share(seen.waiting_seconds),
            other_processes_cores=share(others),
            steal_cores=share(seen.steal_seconds),
            cpu_pressure=share(seen.pressure_seconds),
            quota_throttled_share=share(seen.quota_throttled_seconds),
            reference_kernel_ms=tuple(round(value, 5) for value in self._reference_ms),
            gpu_clock_mhz=min(clocks, default=None),
            gpu_throttle_reasons=tuple(sorted({reason for state in self._gpu_states for reason in state.throttled})),
            gpu_other_processes=max(others_on_gpu, default=None),
            gpu_discarded_samples=discarded,
        )


_ELEMENTS = 4_096  # input and output take 32 KiB of the first-level cache and displace little of the model's data
_CALLS, _REPEATS = 200, 5  # about 0.35 ms per repeat; the best one had no interrupt


def reference_kernel() -> Callable[[], float]:
    """A function that computes exp of the same floats repeatedly and returns the best of five times in milliseconds.

    NumPy computes it on the calling thread only and wakes none of PyTorch's threads. It uses no memory beyond the
    first-level cache, so its time depends on the clock and on processes on the same core, not on memory traffic.
    """
    values = np.linspace(0.0, 1.0, _ELEMENTS, dtype=np.float32)
    results = np.empty_like(values)

    def repeat_ms() -> float:
        start = time.perf_counter_ns()
        for _ in range(_CALLS):
            np.exp(values, out=results)
        return (time.perf_counter_ns() - start) / 1e6

    def best_ms() -> float:
        return min(repeat_ms() for _ in range(_REPEATS))

    return best_ms

"""Observes the machine while one restart takes its samples; a fixed piece of work, the reference kernel, shows changes
of the clock and neighbours that no counter shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlbench.measure.noise import Interference
from vlbench.measure.nvml import Gpu, GpuState
from vlbench.measure.os_counters import ROOT, CounterReader, Counters


class Observer:
    """Stands around the timed blocks of one process, outside every timed sample, and never raises.

        observer.start()
        ...a block of samples...
        observer.between_blocks()
        ...another...
        interference = observer.finish()

    Where another process of the same measurement works in turn with this one, `pause()` and `resume()` keep its turn
    out of what is observed; both are cheap (under a millisecond).

    Args:
        reference: gives the milliseconds of a fixed piece of work, see `reference_kernel`; None times none. The first
            pass after it is 1 to 2% slower (caches, threads asleep), the second is not: run one untimed.
        device: PyTorch's name of where the model runs; NVML is asked for `cuda`.
        gpu_uuid: of that GPU; without it CUDA_VISIBLE_DEVICES or the index decides.
        root: where `proc` and `sys` lie; another folder in tests.
    """

    def __init__(
        self,
        reference: Callable[[], float] | None,
        device: str = "cpu",
        *,
        gpu_uuid: str | None = None,
        root: Path = ROOT,
    ) -> None:
        self._reference = reference
        self._reader = CounterReader(root)
        self._gpu = Gpu(device, gpu_uuid) if device.startswith("cuda") else None
        self._cores = self._reader.cores()
        self._reference_ms: list[float] = []
        self._gpu_states: list[GpuState] = []
        self._resumed_at: Counters | None = None
        self._seen: Counters | None = None

    def start(self) -> None:
        """Times the reference, then begins to observe; what an earlier start observed is forgotten."""
        self._reference_ms, self._gpu_states, self._seen = [], [], None
        self._time_reference()
        self.resume()

    def between_blocks(self) -> None:
        """Looks at the GPU and times the reference."""
        self._look_at_gpu()
        self._time_reference()

    def pause(self) -> None:
        """What happens until `resume` is not observed."""
        if self._resumed_at is not None:
            span = self._reader.read().since(self._resumed_at)
            self._seen = span if self._seen is None else self._seen.plus(span)
            self._resumed_at = None

    def resume(self) -> None:
        if self._resumed_at is None:
            self._resumed_at = self._reader.read()

    def finish(self) -> Interference:
        """Ends the observation. Raises RuntimeError where it was never started."""
        self.pause()
        if self._seen is None:
            raise RuntimeError("the observer was not started")
        self.between_blocks()
        return self._interference(self._seen)

    def _time_reference(self) -> None:
        if self._reference is not None:
            self._reference_ms.append(self._reference())

    def _look_at_gpu(self) -> None:
        state = self._gpu.look() if self._gpu else None
        if state is not None:
            self._gpu_states.append(state)

    def _interference(self, seen: Counters) -> Interference:
        wall = max(seen.wall_seconds, 1e-9)

        def share(seconds: float | None) -> float | None:
            return None if seconds is None else round(seconds / wall, 4)

        others = None if seen.busy_seconds is None else max(0.0, seen.busy_seconds - seen.cpu_seconds)
        if others is not None and self._cores:
            others = min(others, self._cores * wall)  # a tick within a span shorter than it
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
            quota_throttled_share=share(seen.quota_stopped_seconds),
            reference_kernel_ms=tuple(round(value, 5) for value in self._reference_ms),
            gpu_clock_mhz=min(clocks, default=None),
            gpu_throttle_reasons=tuple(sorted({reason for state in self._gpu_states for reason in state.throttled})),
            gpu_other_processes=max(others_on_gpu, default=None),
        )


_ELEMENTS = (
    4_096  # input and output take 32 KiB: the first-level cache, so that little of the model's data is displaced
)
_CALLS, _REPEATS = 200, 5  # about 0.35 ms a repeat; the best one is without the odd interrupt


def reference_kernel() -> Callable[[], float]:
    """A function that runs exp over the same floats again and again and gives the best time of five, in milliseconds.

    NumPy runs it on the calling thread alone, whatever number of threads PyTorch has, and wakes none of PyTorch's. It
    touches no memory beyond the first-level cache: it sees clocks and whoever shares the core, not memory traffic.
    """
    values = np.linspace(0.0, 1.0, _ELEMENTS, dtype=np.float32)
    results = np.empty_like(values)

    def once() -> float:
        start = time.perf_counter_ns()
        for _ in range(_CALLS):
            np.exp(values, out=results)
        return (time.perf_counter_ns() - start) / 1e6

    def best() -> float:
        return min(once() for _ in range(_REPEATS))

    return best

"""Findings on what else happens on the machine, from watching it for two seconds."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vlbench.doctor.findings import Finding
from vlbench.measure.noise import QUOTA_SHARE, STEAL_SHARE, WAITING_SHARE, Interference, others_limit
from vlbench.measure.nvml import GpuState
from vlbench.measure.observe import Observer
from vlbench.measure.os_counters import ROOT, pressure_figure

WATCH_SECONDS = 2.0
BUSIEST, LEAST_CORES = 3, 0.02
MEMORY_PRESSURE_PERCENT = 1.0  # kernels report hundredths on idle machines
AVAILABLE_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of the machine: what is available and swapped out, what was swapped meanwhile, and the share of the last ten
    seconds in which some task waited for memory (None: not told)."""

    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    swapped_bytes: int
    pressure_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was seen while this process slept: counters, the busiest processes (name, cores), memory."""

    interference: Interference
    busiest: tuple[tuple[str, float], ...]
    memory: Memory


def watch(seconds: float = WATCH_SECONDS, root: Path = ROOT) -> Activity:
    """Sleeps for so long, and says what happened meanwhile."""
    swapped = _swapped_bytes()
    before = _seconds_by_process()
    observer = Observer(None, root=root)
    observer.start()
    time.sleep(seconds)
    interference = observer.finish()
    busiest = _busiest(before, _seconds_by_process(), interference.wall_seconds)
    virtual = psutil.virtual_memory()
    memory = Memory(
        total_bytes=virtual.total,
        available_bytes=virtual.available,
        swap_used_bytes=psutil.swap_memory().used,
        swapped_bytes=_swapped_bytes() - swapped,
        pressure_percent=pressure_figure(root, "memory", "avg10"),
    )
    return Activity(interference=interference, busiest=busiest, memory=memory)


def activity_findings(activity: Activity) -> list[Finding]:
    """Other processes, waiting for cores, memory."""
    return [*_others(activity), *_pressure(activity.interference), *_memory(activity.memory)]


def load_findings(interference: Interference, throttled: int | None) -> list[Finding]:
    """What shows only under load: steal, a quota that holds back, heat.

    Args:
        interference: taken while a child of this process computed; what it took is not told from others.
        throttled: how often heat lowered the clock meanwhile.
    """
    return [*_steal(interference), *_quota(interference), *_heat(throttled)]


def gpu_findings(state: GpuState | None) -> list[Finding]:
    """None where there is no GPU that NVML knows."""
    if state is None:
        return []
    if state.others:
        change = "end them: nvidia-smi lists them"
        finding = f"processes that hold the GPU: {state.others}"
        return [Finding(check="GPU", level="unfit", finding=finding, change=change)]
    slowed = f"; clocks lowered by {', '.join(state.throttled)}" if state.throttled else ""
    clock = "unknown" if state.clock_mhz is None else f"{state.clock_mhz:.0f} MHz"
    return [Finding(check="GPU", level="note", finding=f"nobody else on it; SM clock {clock} at rest{slowed}")]


def _others(activity: Activity) -> Iterator[Finding]:
    interference = activity.interference
    if interference.other_processes_cores is None:
        yield Finding(check="other processes", level="note", finding="not visible on this system")
        return
    of = f" of {interference.cores}" if interference.cores else ""
    busy, limit = interference.other_processes_cores, others_limit(interference.cores)
    finding = f"{busy:.2f}{of} cores busy; up to {limit:.2f} are tolerated"
    names = ", ".join(f"{name} ({cores:.2f})" for name, cores in activity.busiest)
    if busy > limit:
        change = f"end or pause: {names}" if names else "find what runs: short-lived processes, or other containers"
        yield Finding(check="other processes", level="unfit", finding=finding, change=change)
    else:
        yield Finding(check="other processes", level="good", finding=f"{finding}{'; ' if names else ''}{names}")


def _pressure(interference: Interference) -> Iterator[Finding]:
    if interference.cpu_pressure is None:
        return
    finding = f"some task waited for a core {interference.cpu_pressure:.1%} of the time"
    if interference.cpu_pressure > WAITING_SHARE:
        yield Finding(
            check="pressure", level="warning", finding=finding, change="run nothing else, nor in other containers"
        )
    else:
        yield Finding(check="pressure", level="good", finding=finding)


def _memory(memory: Memory) -> Iterator[Finding]:
    share = memory.available_bytes / memory.total_bytes
    available = f"{memory.available_bytes / 2**30:.1f} of {memory.total_bytes / 2**30:.1f} GiB available"
    swap = f", {memory.swap_used_bytes / 2**30:.1f} GiB swapped out" if memory.swap_used_bytes else ""
    if memory.swapped_bytes > 0 or (memory.pressure_percent or 0) > MEMORY_PRESSURE_PERCENT:
        finding = f"the system is short of memory now: {available}{swap}"
        yield Finding(check="memory", level="unfit", finding=finding, change="end what holds memory, or add some")
    elif share < AVAILABLE_SHARE:
        finding = f"little left: {available}{swap}"
        yield Finding(check="memory", level="warning", finding=finding, change="end what holds memory")
    elif swap:
        yield Finding(check="memory", level="note", finding=f"{available}{swap}")
    else:
        yield Finding(check="memory", level="good", finding=available)


def _steal(interference: Interference) -> Iterator[Finding]:
    if interference.steal_cores is None:
        return
    finding = f"the hypervisor kept {interference.steal_cores:.3f} cores for others, under load"
    if interference.steal_cores > STEAL_SHARE:
        change = "wait until the host is quieter, or take a machine with cores of its own"
        yield Finding(check="steal", level="unfit", finding=finding, change=change)
    else:
        yield Finding(check="steal", level="good", finding=finding)


def _quota(interference: Interference) -> Iterator[Finding]:
    stopped = interference.quota_throttled_share
    if stopped is not None and stopped > QUOTA_SHARE:
        finding = f"the processor quota held it back {stopped:.0%} of the time, under load"
        yield Finding(check="quota", level="unfit", finding=finding, change="fewer --threads, or lift the quota")


def _heat(throttled: int | None) -> Iterator[Finding]:
    if throttled:
        finding = f"heat lowered the clock, under load (counted {throttled} times)"
        yield Finding(check="heat", level="unfit", finding=finding, change="cool it, or turn turbo off")
    elif throttled == 0:
        yield Finding(check="heat", level="good", finding="no clock lowered under load")


def _seconds_by_process() -> dict[psutil.Process, tuple[str, float]]:
    """Name and processor time of every process that may be read, but this one. The name is no part of the key: a
    kernel's worker bears that of its present work."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid():
                times = process.cpu_times()
                found[process] = process.name(), times.user + times.system
        except psutil.Error:
            continue
    return found


def _busiest(
    before: Mapping[Any, tuple[str, float]], after: Mapping[Any, tuple[str, float]], seconds: float
) -> tuple[tuple[str, float], ...]:
    """By name, all processes of a name together; one that started meanwhile counts from nothing."""
    cores: dict[str, float] = defaultdict(float)
    for process, (name, total) in after.items():
        cores[name] += (total - before.get(process, (name, 0.0))[1]) / seconds
    busy = sorted(
        ((name, round(used, 2)) for name, used in cores.items() if used >= LEAST_CORES), key=lambda one: -one[1]
    )
    return tuple(busy[:BUSIEST])


def _swapped_bytes() -> int:
    swap = psutil.swap_memory()
    return swap.sin + swap.sout

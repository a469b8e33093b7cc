"""Findings about what else runs on the machine, from watching it for two seconds."""

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
from vlbench.measuring.noise import QUOTA_SHARE, STEAL_SHARE, WAITING_SHARE, Interference, others_limit
from vlbench.measuring.observe import Observer
from vlbench.measuring.os_counters import ROOT, pressure_figure

WATCH_SECONDS = 2.0
BUSIEST, LEAST_CORES = 3, 0.02
MEMORY_PRESSURE_PERCENT = 1.0  # kernels report hundredths on idle machines
AVAILABLE_SHARE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The machine's memory while it was watched.

    Attributes:
        swap_used_bytes: swapped out at the end.
        swapped_bytes: swapped in or out while the machine was watched.
        pressure_percent: of the last ten seconds, how long some task waited for memory; None where it is unknown.
    """

    total_bytes: int
    available_bytes: int
    swap_used_bytes: int
    swapped_bytes: int
    pressure_percent: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What happened while this process slept: counters, the busiest processes (name, cores), memory."""

    interference: Interference
    busiest: tuple[tuple[str, float], ...]
    memory: Memory


def watch(seconds: float = WATCH_SECONDS, root: Path = ROOT) -> Activity:
    """Sleeps for `seconds` and returns what happened in that time."""
    swapped = _swapped_bytes()
    before = _seconds_by_process()
    observer = Observer(None, root=root)
    observer.start()
    time.sleep(seconds)
    interference = observer.finish()
    busiest = busiest_processes(before, _seconds_by_process(), interference.wall_seconds)
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
    """What shows only under load: time stolen by the hypervisor, time stopped by a quota, and heat.

    Args:
        interference: collected while a child of this process computed, which `other_processes_cores` includes.
        throttled: how often heat lowered the clock in that time; None where it is unknown.
    """
    return [*_steal(interference), *_quota(interference), *_heat(throttled)]


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
        change = f"end or pause: {names}" if names else "look for short-lived processes, and in other containers"
        yield Finding(check="other processes", level="unfit", finding=finding, change=change)
    else:
        yield Finding(check="other processes", level="good", finding=f"{finding}{'; ' if names else ''}{names}")


def _pressure(interference: Interference) -> Iterator[Finding]:
    if interference.cpu_pressure is None:
        return
    finding = f"some task waited for a core {interference.cpu_pressure:.1%} of the time"
    if interference.cpu_pressure > WAITING_SHARE:
        yield Finding(
            check="pressure", level="warning", finding=finding, change="run nothing else, also not in other containers"
        )
    else:
        yield Finding(check="pressure", level="good", finding=finding)


def _memory(memory: Memory) -> Iterator[Finding]:
    share = memory.available_bytes / memory.total_bytes
    available = f"{memory.available_bytes / 2**30:.1f} of {memory.total_bytes / 2**30:.1f} GiB available"
    swap = f", {memory.swap_used_bytes / 2**30:.1f} GiB swapped out" if memory.swap_used_bytes else ""
    if memory.swapped_bytes > 0 or (memory.pressure_percent or 0) > MEMORY_PRESSURE_PERCENT:
        finding = f"memory is short now: {available}{swap}"
        yield Finding(check="memory", level="unfit", finding=finding, change="end what uses memory, or add some")
    elif share < AVAILABLE_SHARE:
        finding = f"little left: {available}{swap}"
        yield Finding(check="memory", level="warning", finding=finding, change="end what uses memory")
    elif swap:
        yield Finding(check="memory", level="note", finding=f"{available}{swap}")
    else:
        yield Finding(check="memory", level="good", finding=available)


def _steal(interference: Interference) -> Iterator[Finding]:
    if interference.steal_cores is None:
        return
    finding = f"the hypervisor gave {interference.steal_cores:.3f} cores to others, under load"
    if interference.steal_cores > STEAL_SHARE:
        change = "wait until the host is quieter, or use a machine with dedicated cores"
        yield Finding(check="steal", level="unfit", finding=finding, change=change)
    else:
        yield Finding(check="steal", level="good", finding=finding)


def _quota(interference: Interference) -> Iterator[Finding]:
    stopped = interference.quota_throttled_share
    if stopped is not None and stopped > QUOTA_SHARE:
        finding = f"the CPU quota stopped it for {stopped:.0%} of the time, under load"
        yield Finding(check="quota", level="unfit", finding=finding, change="use fewer --threads, or lift the quota")


def _heat(throttled: int | None) -> Iterator[Finding]:
    if throttled:
        finding = f"heat lowered the clock {throttled} times under load"
        yield Finding(check="heat", level="unfit", finding=finding, change="cool it, or turn turbo off")
    elif throttled == 0:
        yield Finding(check="heat", level="good", finding="did not lower the clock under load")


def _seconds_by_process() -> dict[psutil.Process, tuple[str, float]]:
    """Name and processor time of every readable process except this one.

    The name is not part of the key, as a kernel worker is renamed after what it works on.
    """
    seconds = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid():
                times = process.cpu_times()
                seconds[process] = process.name(), times.user + times.system
        except psutil.Error:
            continue
    return seconds


def busiest_processes(
    before: Mapping[Any, tuple[str, float]], after: Mapping[Any, tuple[str, float]], seconds: float
) -> tuple[tuple[str, float], ...]:
    """The busiest names and their cores, over all processes of a name. A process that is new counts from zero."""
    cores: dict[str, float] = defaultdict(float)
    for process, (name, total) in after.items():
        cores[name] += (total - before.get(process, (name, 0.0))[1]) / seconds
    busy = [(name, round(used, 2)) for name, used in cores.items() if used >= LEAST_CORES]
    return tuple(sorted(busy, key=lambda process: -process[1])[:BUSIEST])


def _swapped_bytes() -> int:
    swap = psutil.swap_memory()
    return swap.sin + swap.sout

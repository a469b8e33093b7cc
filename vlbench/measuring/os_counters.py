"""Reads the kernel's counters around a measurement: processor time, waiting, steal, pressure, throttling by a quota.

They come from Linux's proc(5), schedstat, pressure stall information (PSI) and control groups of both versions. A
counter that the system does not provide (an old kernel, a container, another operating system) is None, not an error.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Totals since an arbitrary start, in seconds unless the name says otherwise.

    Attributes:
        wall_seconds: monotonic clock.
        cpu_seconds: processor time of this process, of all its threads, ended ones included.
        involuntary_context_switches: of all its threads.
        waiting_seconds: time in which its threads were ready to run but had no core, summed over the living threads.
        busy_seconds: processor time on all cores of the machine, with this process and without steal.
        steal_seconds: time of cores that the hypervisor gave to other machines.
        pressure_seconds: time in which some task of the machine waited for a core.
        quota_throttled_seconds: time in which the control group's processor quota stopped its tasks.
    """

    wall_seconds: float
    cpu_seconds: float
    involuntary_context_switches: int | None = None
    waiting_seconds: float | None = None
    busy_seconds: float | None = None
    steal_seconds: float | None = None
    pressure_seconds: float | None = None
    quota_throttled_seconds: float | None = None

    def since(self, earlier: Counters) -> Counters:
        """The increase since `earlier`; never negative, though a thread that ended no longer counts its waiting."""
        return self._combined(earlier, lambda now, then: max(now - then, 0))

    def plus(self, other: Counters) -> Counters:
        """The sum of two spans."""
        return self._combined(other, lambda first, second: first + second)

    def _combined(self, other: Counters, combine: Callable[[Any, Any], Any]) -> Counters:
        pairs = {field.name: (getattr(self, field.name), getattr(other, field.name)) for field in fields(self)}
        values: dict[str, Any] = {name: None if None in pair else combine(*pair) for name, pair in pairs.items()}
        return Counters(**values)


class CounterReader:
    """Reads all counters. Files that do not change are located once.

    Args:
        root: the folder that contains `proc` and `sys`; another one in tests.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.groups = CpuGroups(root)

    def read(self) -> Counters:
        busy, steal = self._machine_seconds()
        return Counters(
            wall_seconds=time.monotonic(),
            cpu_seconds=time.process_time(),
            involuntary_context_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            waiting_seconds=self._waiting_seconds(),
            busy_seconds=busy,
            steal_seconds=steal,
            pressure_seconds=self._pressure_seconds(),
            quota_throttled_seconds=self.groups.throttled_seconds(),
        )

    def cores(self) -> int | None:
        """How many cores `busy_seconds` sums over."""
        lines = read_lines(self.root / "proc/stat")
        if lines is None:
            return psutil.cpu_count() if self._uses_psutil() else None
        return sum(line.startswith("cpu") and line[3:4].isdigit() for line in lines) or None

    def _machine_seconds(self) -> tuple[float | None, float | None]:
        """Busy and stolen time of all cores, from /proc/stat's first line; `user` and `nice` include guests' time."""
        lines = read_lines(self.root / "proc/stat")
        if lines is None and self._uses_psutil():
            times = psutil.cpu_times()
            return times.user + times.system + getattr(times, "nice", 0.0), None
        words = lines[0].split() if lines else []
        if len(words) < 8 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
            return None, None
        user, nice, system, _idle, _iowait, interrupts, soft = (int(word) / _TICKS for word in words[1:8])
        return user + nice + system + interrupts + soft, int(words[8]) / _TICKS if len(words) > 8 else None

    def _uses_psutil(self) -> bool:
        return self.root == ROOT and sys.platform != "linux"

    def _waiting_seconds(self) -> float | None:
        """The second figure of each thread's schedstat: nanoseconds on a run queue."""
        threads = self.root / "proc/self/task"
        try:
            texts = [_read(str(threads / name / "schedstat")) for name in os.listdir(threads)]
            return sum(int(text.split()[1]) for text in texts if text) / 1e9 if any(texts) else None
        except (OSError, ValueError, IndexError):
            return None

    def _pressure_seconds(self) -> float | None:
        return pressure_figure(self.root, "cpu", "total", per_second=1e6)


class CpuGroups:
    """The control groups (version 1 and 2) whose quotas limit this process: its group and those above it."""

    def __init__(self, root: Path = ROOT) -> None:
        self.folders = list(_group_folders(root))

    def throttled_seconds(self) -> float | None:
        """For how long a quota stopped tasks, in the group that was stopped longest."""
        by_group = (_throttled_seconds(folder / "cpu.stat") for folder in self.folders)
        return max((seconds for seconds in by_group if seconds is not None), default=None)

    def quota_cores(self) -> float | None:
        """The tightest quota, in cores; None if there is none."""
        return min((quota for folder in self.folders if (quota := _quota(folder)) is not None), default=None)


def pressure_figure(root: Path, resource_name: str, key: str, *, per_second: float = 1.0) -> float | None:
    """A figure of the `some` line of /proc/pressure/NAME: `avg10` (percent), `total` (microseconds)."""
    for line in read_lines(root / "proc/pressure" / resource_name) or []:
        kind, *pairs = line.split()
        if kind == "some":
            values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
            return number(values.get(key), per_second)
    return None


def read_lines(path: Path) -> list[str] | None:
    """The lines of a small file; None if it cannot be read."""
    text = _read(str(path))
    return None if text is None else text.splitlines()


def first_line(path: Path) -> str | None:
    """Of a small file, without white space around it; None if it is empty or cannot be read."""
    lines = read_lines(path)
    return lines[0].strip() if lines else None


def number(text: str | None, divisor: float = 1.0) -> float | None:
    try:
        return None if text is None else float(text) / divisor
    except ValueError:
        return None


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def _group_folders(root: Path) -> Iterator[Path]:
    """Each group with a cpu.stat, from this process's group upwards; /proc/self/cgroup names it, see cgroups(7)."""
    mounts = root / "sys/fs/cgroup"
    for line in read_lines(root / "proc/self/cgroup") or []:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        names = (controllers, "cpu") if controllers else (".", "unified")
        for mount in dict.fromkeys(mounts / name for name in names):
            group = mount / path.strip("/")
            for folder in (group, *group.parents):
                if (folder / "cpu.stat").is_file():
                    yield folder
                if folder == mount:
                    break


def _throttled_seconds(path: Path) -> float | None:
    values = dict(line.split(maxsplit=1) for line in read_lines(path) or [] if " " in line)
    microseconds = number(values.get("throttled_usec"), 1e6)
    return number(values.get("throttled_time"), 1e9) if microseconds is None else microseconds


def _quota(folder: Path) -> float | None:
    """Version 2 writes `QUOTA PERIOD` into cpu.max; version 1 has a file for each, and -1 if there is no quota."""
    words = [*(read_lines(folder / "cpu.max") or [""]), ""][0].split()
    if len(words) != 2:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        words = [line for name in names for line in read_lines(folder / name) or []]
    quota, period = (number(word) for word in words) if len(words) == 2 else (None, None)
    return quota / period if quota and period and quota > 0 else None


_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100

"""The kernel's counters, read from trees laid out as proc(5) and cgroups(7) say."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from vlbench.measuring.os_counters import CounterReader, Counters, CpuGroups, pressure_figure

STAT = """cpu  1000 50 300 9000 70 5 15 40 200 0
cpu0 500 25 150 4500 35 2 8 20 100 0
cpu1 500 25 150 4500 35 3 7 20 100 0
intr 99
"""
PRESSURE = """some avg10=1.50 avg60=0.51 avg300=0.57 total=2500000
full avg10=0.00 avg60=0.00 avg300=0.00 total=7
"""


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_every_counter_is_read_in_seconds(tmp_path: Path) -> None:
    files = {
        "proc/stat": STAT,
        "proc/pressure/cpu": PRESSURE,
        "proc/self/task/7/schedstat": "9000000 1500000000 4\n",
        "proc/self/task/8/schedstat": "9000000 500000000 4\n",
        "proc/self/cgroup": "0::/a/b\n",
        "sys/fs/cgroup/a/b/cpu.stat": "usage_usec 5\nnr_throttled 3\nthrottled_usec 250000\n",
    }
    reader = CounterReader(lay_out(tmp_path, files))
    found = reader.read()
    tick = os.sysconf("SC_CLK_TCK")
    assert found.busy_seconds == pytest.approx((1000 + 50 + 300 + 5 + 15) / tick)  # neither idle nor iowait nor steal
    assert found.steal_seconds == pytest.approx(40 / tick)
    assert found.pressure_seconds == 2.5
    assert found.waiting_seconds == 2.0
    assert found.quota_throttled_seconds == 0.25
    assert reader.cores() == 2


def test_what_is_absent_is_none(tmp_path: Path) -> None:
    reader = CounterReader(tmp_path)
    found = reader.read()
    assert (found.busy_seconds, found.steal_seconds, found.pressure_seconds) == (None, None, None)
    assert (found.waiting_seconds, found.quota_throttled_seconds, reader.cores()) == (None, None, None)
    assert found.cpu_seconds > 0
    assert found.involuntary_context_switches is not None


@pytest.mark.parametrize(
    "files",
    [
        {"proc/stat": ""},
        {"proc/stat": "cpu 1 2\n"},
        {"proc/stat": "cpu a b c d e f g h\n"},
        {"proc/pressure/cpu": "some avg10=\nnonsense\n"},
        {"proc/pressure/cpu": "some avg10=0.00 total=many\n"},
        {"proc/self/task/7/schedstat": "\n"},
        {"proc/self/task/7/schedstat": "no numbers\n"},
        {"proc/self/cgroup": "nonsense\n0::/gone\n", "sys/fs/cgroup/cpu.stat": "throttled_usec many\nodd\n"},
    ],
)
def test_what_cannot_be_parsed_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    found = CounterReader(lay_out(tmp_path, files)).read()
    assert (found.busy_seconds, found.pressure_seconds, found.waiting_seconds) == (None, None, None)
    assert found.quota_throttled_seconds is None


def test_an_old_kernel_without_steal(tmp_path: Path) -> None:
    found = CounterReader(lay_out(tmp_path, {"proc/stat": "cpu  100 0 100 900 0 0 0\n"})).read()
    assert found.busy_seconds == pytest.approx(200 / os.sysconf("SC_CLK_TCK"))
    assert found.steal_seconds is None


def test_spans_subtract_and_add() -> None:
    first = Counters(wall_seconds=10, cpu_seconds=4, waiting_seconds=3.0, busy_seconds=None)
    later = Counters(wall_seconds=12, cpu_seconds=5, waiting_seconds=2.0, busy_seconds=7.0)
    span = later.since(first)
    assert (span.wall_seconds, span.cpu_seconds) == (2, 1)
    assert span.waiting_seconds == 0  # a thread ended, and took its waiting with it
    assert span.busy_seconds is None
    assert span.plus(span).wall_seconds == 4


@pytest.mark.parametrize(
    ("files", "quota", "stopped"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": "usage_usec 1\n"}, None, None),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.stat": "throttled_usec 4000000\n",
                "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
                "sys/fs/cgroup/a/b/cpu.stat": "throttled_usec 0\n",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            },
            1.5,
            4.0,  # the group above holds this one back, too
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/x\n2:cpu,cpuacct:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_throttled 2\nthrottled_time 500000000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4.0,
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.stat": "throttled_time 0\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
            0.0,
        ),
    ],
)
def test_control_groups_of_both_versions(
    tmp_path: Path, files: dict[str, str], quota: float | None, stopped: float | None
) -> None:
    groups = CpuGroups(lay_out(tmp_path, files))
    assert groups.quota_cores() == quota
    assert groups.throttled_seconds() == stopped


def test_pressure_of_memory(tmp_path: Path) -> None:
    lay_out(tmp_path, {"proc/pressure/memory": PRESSURE})
    assert pressure_figure(tmp_path, "memory", "avg10") == 1.5
    assert pressure_figure(tmp_path, "io", "avg10") is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_kernel_counts_a_busy_loop() -> None:
    reader = CounterReader()
    before = reader.read()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    span = reader.read().since(before)
    assert span.wall_seconds == pytest.approx(0.3, abs=0.2)
    assert span.busy_seconds is not None
    assert span.busy_seconds >= span.cpu_seconds - 0.05
    assert 0.05 < span.cpu_seconds <= span.wall_seconds + 0.05

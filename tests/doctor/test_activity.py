"""Findings on what else runs, from known figures; and a real burner, found by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from vlbench.doctor.activity import (
    Activity,
    Memory,
    activity_findings,
    busiest_processes,
    load_findings,
    watch,
)
from vlbench.doctor.findings import Finding
from vlbench.measuring.noise import Interference

GIB = 2**30


def interference(**values: Any) -> Interference:
    return Interference(**{"wall_seconds": 2.0, "cpu_seconds": 0.0, "cores": 2, "other_processes_cores": 0.01} | values)


def memory(**values: Any) -> Memory:
    plenty: dict[str, Any] = {
        "total_bytes": 16 * GIB,
        "available_bytes": 12 * GIB,
        "swap_used_bytes": 0,
        "swapped_bytes": 0,
        "pressure_percent": 0.0,
    }
    return Memory(**plenty | values)


def found(
    *, seen: Interference | None = None, busiest: tuple[tuple[str, float], ...] = (), held: Memory | None = None
) -> dict[str, Finding]:
    activity = Activity(interference=seen or interference(), busiest=busiest, memory=held or memory())
    return {one.check: one for one in activity_findings(activity)}


def test_a_quiet_machine() -> None:
    levels = {check: one.level for check, one in found(seen=interference(cpu_pressure=0.001)).items()}
    assert levels == dict.fromkeys(("other processes", "pressure", "memory"), "good")


def test_whoever_keeps_cores_busy_is_named() -> None:
    one = found(seen=interference(other_processes_cores=0.95), busiest=(("backup", 0.9), ("cron", 0.05)))[
        "other processes"
    ]
    assert one.level == "unfit"
    assert "0.95 of 2 cores busy; up to 0.10 are tolerated" in one.finding
    assert one.change == "end or pause: backup (0.90), cron (0.05)"


def test_processes_of_one_name_are_summed_and_the_busiest_named() -> None:
    before = {1: ("make", 5.0), 2: ("make", 0.0), 3: ("idle", 9.0)}
    after = {1: ("make", 6.0), 2: ("make", 0.5), 3: ("idle", 9.0), 4: ("new", 0.2), 5: ("a", 0.3), 6: ("b", 0.1)}
    assert busiest_processes(before, after, 2.0) == (("make", 0.75), ("a", 0.15), ("new", 0.1))


def test_a_process_that_changes_its_name_is_the_same_process() -> None:
    before, after = {1: ("kworker-flush", 50.0)}, {1: ("kworker-events", 50.2)}
    assert busiest_processes(before, after, 2.0) == (("kworker-events", 0.1),)


def test_a_load_that_no_process_here_explains() -> None:
    one = found(seen=interference(other_processes_cores=0.95))["other processes"]
    assert "other containers" in (one.change or "")


def test_a_system_that_does_not_tell() -> None:
    checks = found(seen=interference(other_processes_cores=None))
    assert checks["other processes"].level == "note"
    assert "pressure" not in checks


def test_pressure() -> None:
    assert found(seen=interference(cpu_pressure=0.2))["pressure"].level == "warning"


@pytest.mark.parametrize(
    ("values", "level"),
    [
        ({}, "good"),
        ({"swap_used_bytes": GIB}, "note"),
        ({"available_bytes": GIB}, "warning"),
        ({"swapped_bytes": 4096}, "unfit"),
        ({"pressure_percent": 12.0}, "unfit"),
        ({"pressure_percent": None}, "good"),
    ],
)
def test_memory(values: dict[str, Any], level: str) -> None:
    assert found(held=memory(**values))["memory"].level == level


def test_what_shows_only_under_load() -> None:
    bad = load_findings(interference(steal_cores=0.3, quota_throttled_share=0.2), 4)
    assert {one.check: one.level for one in bad} == dict.fromkeys(("steal", "quota", "heat"), "unfit")
    assert all(one.change for one in bad)
    good = load_findings(interference(steal_cores=0.0, quota_throttled_share=0.0), 0)
    assert {one.check: one.level for one in good} == dict.fromkeys(("steal", "heat"), "good")
    assert load_findings(interference(), None) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_burner_is_found_by_name() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        activity = watch(1)
    finally:
        process.kill()
        process.wait()
    assert activity.interference.other_processes_cores is not None
    assert activity.interference.other_processes_cores >= 0.4
    assert [name for name, _ in activity.busiest if name.startswith("python")], activity.busiest
    assert activity_findings(activity)[0].level == "unfit"

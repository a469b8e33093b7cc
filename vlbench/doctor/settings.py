"""Findings about the machine's settings, from /proc and /sys of Linux."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from vlbench.doctor.findings import Finding
from vlbench.measuring.os_counters import ROOT, first_line, read_lines

SLOW_CLOCKS = {"hpet", "acpi_pm", "jiffies", "refined-jiffies"}
LEAST_TIMER_NS = 1_000  # a thousandth of the shortest forward pass that is worth timing


def settings_findings(root: Path = ROOT) -> list[Finding]:
    """All settings except the threads. A setting that is not visible is left out; for the governor there is a note."""
    checks = (_governor, _boost, _siblings, _huge_pages, _virtual, _power, _clock_source)
    return [finding for check in checks for finding in check(root)]


def threads_finding(threads: int, *, physical: int, usable: int, quota: float | None) -> Finding:
    """Whether there are enough cores for the threads.

    Args:
        threads: that a measurement would use.
        physical, usable: physical and logical cores that this process may run on.
        quota: the control group's CPU quota, in cores; None: no quota.
    """

    def result(level: str, finding: str, change: str | None = None) -> Finding:
        return Finding.model_validate({"check": "threads", "level": level, "finding": finding, "change": change})

    if quota is not None and threads > quota:
        fewer = f"--threads {int(quota)}, or " if quota >= 1 else ""
        return result("unfit", f"{threads} threads under a quota of {quota:g} cores", f"{fewer}lift the quota")
    if threads > usable:
        return result("unfit", f"{threads} threads on {usable} usable cores", f"--threads {physical}")
    if threads > physical:
        return result("warning", f"{threads} threads share {physical} physical cores", f"--threads {physical}")
    if threads == usable > 1:
        return result(
            "warning",
            f"{threads} threads on {usable} cores: any other process delays all of them",
            f"--threads {usable - 1}",
        )
    return result("good", f"{threads} of {usable} usable cores, {physical} of them physical")


def timer_finding() -> Finding:
    """The smallest step of the clock that samples are timed with."""
    steps = []
    for _ in range(200):
        start = now = time.perf_counter_ns()
        while now == start:
            now = time.perf_counter_ns()
        steps.append(now - start)
    step = min(steps)
    if step > LEAST_TIMER_NS:
        return Finding(
            check="timer", level="warning", finding=f"steps of {step} ns", change="measure nothing shorter than 1 ms"
        )
    return Finding(check="timer", level="good", finding=f"steps of {step} ns")


def throttle_count(root: Path = ROOT) -> int | None:
    """How often heat has lowered the clock since the machine started, over all cores; None where it is unknown."""
    names = ("core_throttle_count", "package_throttle_count")
    texts = [first_line(path) for name in names for path in _cpus(root, f"thermal_throttle/{name}")]
    counts = [int(text) for text in texts if text and text.isdigit()]
    return sum(counts) if counts else None


def _governor(root: Path) -> Iterator[Finding]:
    governors = {text for path in _cpus(root, "cpufreq/scaling_governor") if (text := first_line(path))}
    if not governors:
        yield Finding(check="governor", level="note", finding="not visible, as in most virtual machines")
    elif governors == {"performance"}:
        yield Finding(check="governor", level="good", finding="performance")
    else:
        yield Finding(
            check="governor",
            level="warning",
            finding=f"{', '.join(sorted(governors))}: clocks follow the load",
            change="sudo cpupower frequency-set --governor performance",
        )


def _boost(root: Path) -> Iterator[Finding]:
    folder = root / "sys/devices/system/cpu"
    for path, on, off in ((folder / "intel_pstate/no_turbo", "0", "1"), (folder / "cpufreq/boost", "1", "0")):
        state = first_line(path)
        if state == on:
            yield Finding(
                check="turbo",
                level="warning",
                finding="on: clocks depend on heat and on how many cores are busy",
                change=f"echo {off} | sudo tee /{path.relative_to(root)}",
            )
        elif state == off:
            yield Finding(check="turbo", level="good", finding="off")
        if state in (on, off):
            return


def _siblings(root: Path) -> Iterator[Finding]:
    state = first_line(root / "sys/devices/system/cpu/smt/active")
    if state == "1":
        yield Finding(
            check="SMT",
            level="note",
            finding="on: two logical cores share a physical one",
            change="no more threads than physical cores, or: echo off | sudo tee /sys/devices/system/cpu/smt/control",
        )
    elif state == "0":
        yield Finding(check="SMT", level="good", finding="off, or not shown to this system")


def _huge_pages(root: Path) -> Iterator[Finding]:
    text = first_line(root / "sys/kernel/mm/transparent_hugepage/enabled") or ""
    if "[" in text:
        chosen = text.partition("[")[2].partition("]")[0]
        yield Finding(check="huge pages", level="note", finding=f"{chosen}: keep it the same on all machines")


def _virtual(root: Path) -> Iterator[Finding]:
    lines = read_lines(root / "proc/cpuinfo") or []
    if any(line.startswith("flags") and "hypervisor" in line.split() for line in lines):
        yield Finding(
            check="virtual machine",
            level="note",
            finding="the host controls clocks and neighbours, and shows neither",
            change="use more restarts; publish figures from bare metal",
        )


def _power(root: Path) -> Iterator[Finding]:
    supplies = sorted((root / "sys/class/power_supply").glob("*"))
    states = [first_line(supply / "status") for supply in supplies if first_line(supply / "type") == "Battery"]
    if "Discharging" in states:
        yield Finding(check="power", level="unfit", finding="on battery, which lowers clocks", change="plug it in")
    elif states:
        yield Finding(check="power", level="good", finding="plugged in")


def _clock_source(root: Path) -> Iterator[Finding]:
    source = first_line(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in SLOW_CLOCKS:
        yield Finding(
            check="clock source",
            level="warning",
            finding=f"{source}: each reading takes microseconds",
            change="start Linux with clocksource=tsc tsc=reliable if the processor has a constant TSC",
        )
    elif source:
        yield Finding(check="clock source", level="good", finding=source)


def _cpus(root: Path, name: str) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob(f"cpu[0-9]*/{name}"))

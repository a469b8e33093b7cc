"""Checks this machine: what else runs, its settings, then its speed."""

from __future__ import annotations

import time
from pathlib import Path

from vlbench.doctor.activity import activity_findings, load_findings, watch
from vlbench.doctor.findings import Diagnosis, Finding
from vlbench.doctor.gpu import examine_gpu
from vlbench.doctor.settings import settings_findings, threads_finding, throttle_count, timer_finding
from vlbench.doctor.speeds import measure_speed, speed_findings
from vlbench.errors import WorkerError
from vlbench.measuring.machine import describe_machine, physical_cores, usable_cores
from vlbench.measuring.noise import Interference
from vlbench.measuring.observe import Observer
from vlbench.measuring.os_counters import ROOT, CpuGroups
from vlbench.measuring.records import MachineSpeed


def diagnose(threads: int, root: Path = ROOT) -> Diagnosis:
    """Runs every check. Takes about 15 seconds on two cores: two to watch, the rest to measure in a child process; a
    GPU takes about ten more.

    Args:
        threads: that models would be measured with; speed is measured with at most as many as there are usable cores.
        root: the folder of `proc` and `sys`; another one in tests.
    """
    start = time.monotonic()
    quota = CpuGroups(root).quota_cores()
    findings = [
        *activity_findings(watch(root=root)),
        threads_finding(threads, physical=physical_cores(), usable=usable_cores(), quota=quota),
        *settings_findings(root),
        timer_finding(),
    ]
    heat = throttle_count(root)
    speed, interference, failure = _measure(min(threads, usable_cores()), root)
    after = throttle_count(root)
    findings += load_findings(interference, None if heat is None or after is None else after - heat)
    findings += speed_findings(speed) if speed else [failure]
    report, of_gpu = examine_gpu(threads, sees_gpu=speed is not None and speed.sees_gpu)
    findings += of_gpu
    return Diagnosis(
        fit=all(finding.level != "unfit" for finding in findings),
        threads=threads,
        machine=report.machine if report else describe_machine(threads=threads, gpu=None),
        findings=tuple(findings),
        speed=speed,
        gpu_speed=report.speed if report else None,
        seconds=round(time.monotonic() - start, 1),
    )


def _measure(threads: int, root: Path) -> tuple[MachineSpeed | None, Interference, Finding]:
    """The speed, what was observed while it was measured, and the finding to report where there is no speed."""
    observer = Observer(None, root=root)
    observer.start()
    reason, speed = "", None
    try:
        speed = measure_speed(threads)
    except WorkerError as error:
        reason = str(error)
    failure = Finding(
        check="speed",
        level="unfit",
        finding=f"could not be measured: {reason}",
        change="fix that; it needs 2 GiB of memory and a working PyTorch",
    )
    return speed, observer.finish(), failure

"""Findings on speed: measured in a child, for this process imports no PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median

from pydantic import ValidationError

from vlbench.doctor.findings import Finding
from vlbench.errors import WorkerError
from vlbench.measure.records import MachineSpeed
from vlbench.measure.statistics import percentile

PROCESSES = 6
TIMEOUT_SECONDS = 120
STEADY_REFERENCE = 0.03  # within a process; on one clock it repeats within 1%
# Between the slowest and the fastest of six processes, which is about 2.5 standard deviations. Up to 5%, the usual 15
# restarts give an interval of about +-1%; above 20% they do not reach +-5%.
ALIKE, HOPELESS = 0.05, 0.20
SCALING = 0.6  # of N times one thread's speed; two threads on one physical core reach about half


def measure_speed(threads: int, processes: int = PROCESSES) -> MachineSpeed:
    """Starts the measuring child and waits. Raises WorkerError where it ends without a result."""
    command = [sys.executable, "-m", "vlbench.measure.peaks", "--threads", str(threads), "--processes", str(processes)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
        return MachineSpeed.model_validate_json(done.stdout)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"not measured within {TIMEOUT_SECONDS} s") from None
    except ValidationError:
        said = done.stderr.strip().splitlines()
        raise WorkerError(said[-1] if said else f"it ended with exit code {done.returncode} and no result") from None


def speed_findings(speed: MachineSpeed) -> list[Finding]:
    """The reference kernel within and between processes, a Transformer layer between processes, threads, peaks."""
    return [*_within(speed), *_between(speed), *_scaling(speed), _peaks(speed)]


def _within(speed: MachineSpeed) -> Iterator[Finding]:
    spread = median(_middle_eighty(process.reference_kernel_ms) for process in speed.processes)
    finding = f"a fixed kernel repeats within {spread:.1%} in one process"
    if spread > STEADY_REFERENCE:
        change = "governor to performance, turbo off, nothing else running"
        yield Finding(check="steady clock", level="warning", finding=finding, change=change)
    else:
        yield Finding(check="steady clock", level="good", finding=finding)


def _between(speed: MachineSpeed) -> Iterator[Finding]:
    count = len(speed.processes)
    kernel = _range([median(process.reference_kernel_ms) for process in speed.processes])
    layer = _range([median(process.layer_ms) for process in speed.processes])
    yield _spread("clock by process", f"a fixed kernel differs by {kernel:.1%} between {count} fresh processes", kernel)
    finding = f"a Transformer layer differs by {layer:.1%} between {count} fresh processes"
    yield _spread("speed states", finding, layer)


def _spread(check: str, finding: str, spread: float) -> Finding:
    if spread > HOPELESS:
        return Finding(
            check=check, level="unfit", finding=finding, change="fewer --threads; nothing else running; another machine"
        )
    if spread > ALIKE:
        return Finding(
            check=check, level="warning", finding=finding, change="a larger --budget, which gives more restarts"
        )
    return Finding(check=check, level="good", finding=finding)


def _scaling(speed: MachineSpeed) -> Iterator[Finding]:
    if speed.threads == 1:
        return
    times = speed.gemm_gflops_per_second / speed.gemm_gflops_per_second_one_thread
    finding = f"{speed.threads} threads multiply matrices {times:.2f} times as fast as one"
    if times < SCALING * speed.threads:
        change = "fewer --threads: these cores are shared, by SMT, a quota or neighbours"
        yield Finding(check="cores", level="warning", finding=finding, change=change)
    else:
        yield Finding(check="cores", level="good", finding=finding)


def _peaks(speed: MachineSpeed) -> Finding:
    several = f", {speed.gemm_gflops_per_second:.0f} with {speed.threads}" if speed.threads > 1 else ""
    return Finding(
        check="peaks",
        level="note",
        finding=f"fp32 matrix product {speed.gemm_gflops_per_second_one_thread:.0f} GFLOP/s with 1 thread{several}; "
        f"copy {speed.copy_gigabytes_per_second:.1f} GB/s, bytes read and written",
    )


def _middle_eighty(values: Sequence[float]) -> float:
    ordered = sorted(values)
    return (percentile(ordered, 0.9) - percentile(ordered, 0.1)) / median(ordered)


def _range(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / median(values)

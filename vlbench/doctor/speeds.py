"""Findings about speed, which is measured in a child process, as this one does not import PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vlbench.doctor.findings import Finding
from vlbench.errors import WorkerError
from vlbench.measuring.records import MachineSpeed
from vlbench.measuring.statistics import percentile
from vlbench.system.child_processes import die_with_parent

Measured = TypeVar("Measured", bound=BaseModel)

PROCESSES = 6
TIMEOUT_SECONDS = 120
STEADY_REFERENCE = 0.03  # spread within a process; at a constant clock it is 1%
# Between the slowest and the fastest of six processes, a range of about 2.5 standard deviations. Up to 5%, the usual 15
# restarts give an interval of about +-1%; above 20% it stays wider than +-5%.
ALIKE, HOPELESS = 0.05, 0.20
SCALING = 0.6  # of N times the speed of one thread; two threads on one physical core reach about half


def measure_speed(threads: int, processes: int = PROCESSES) -> MachineSpeed:
    """Measures in a child process. Raises WorkerError where it ends without a result."""
    return result_of_child("vlbench.measuring.peaks", MachineSpeed, threads, "--processes", str(processes))


def result_of_child(module: str, record: type[Measured], threads: int, *arguments: str) -> Measured:
    """What a module prints when it is run in a child process. Raises WorkerError where it ends without a result."""
    command = [sys.executable, "-m", module, "--threads", str(threads), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            preexec_fn=die_with_parent,
        )
        return record.model_validate_json(done.stdout)
    except subprocess.TimeoutExpired:
        raise WorkerError(f"not measured within {TIMEOUT_SECONDS} s") from None
    except ValidationError:
        errors = done.stderr.strip().splitlines()
        raise WorkerError(
            errors[-1] if errors else f"it ended with exit code {done.returncode} and no result"
        ) from None


def speed_findings(speed: MachineSpeed) -> list[Finding]:
    """The reference kernel within and between processes, a Transformer layer between processes, threads, peaks."""
    return [*_within(speed), *_between(speed), *_scaling(speed), _peaks(speed)]


def _within(speed: MachineSpeed) -> Iterator[Finding]:
    spread = median(_middle_eighty(process.reference_kernel_ms) for process in speed.processes)
    finding = f"a fixed kernel repeats within {spread:.1%} in one process"
    if spread > STEADY_REFERENCE:
        change = "set the governor to performance, turn turbo off, run nothing else"
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
            check=check,
            level="unfit",
            finding=finding,
            change="use fewer --threads, run nothing else, or use another machine",
        )
    if spread > ALIKE:
        return Finding(
            check=check, level="warning", finding=finding, change="use a larger --budget, which gives more restarts"
        )
    return Finding(check=check, level="good", finding=finding)


def _scaling(speed: MachineSpeed) -> Iterator[Finding]:
    if speed.threads == 1:
        return
    times = speed.gemm_gflops_per_second / speed.gemm_gflops_per_second_one_thread
    finding = f"{speed.threads} threads multiply matrices {times:.2f} times as fast as one thread"
    if times < SCALING * speed.threads:
        change = "use fewer --threads: SMT, a quota or other machines share these cores"
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

"""Findings on the GPU, which is measured in a child process, as this one does not import PyTorch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from statistics import median

from vlbench.doctor.findings import Finding
from vlbench.doctor.speeds import result_of_child
from vlbench.errors import WorkerError
from vlbench.measuring.nvml import GpuSettings, gpu_count
from vlbench.measuring.records import GpuReport, GpuSpeed
from vlbench.tables.numbers import counted, short_number

STEADY = 0.03  # of the clock and of the rate under load
LARGEST_INSTANCE = 0.95  # of the memory; CUDA shows a little less than NVML of the same GPU
LEAST_RATES = 8  # of which the first and the last quarter are compared
PYTORCH = "https://pytorch.org/get-started/locally"


def examine_gpu(threads: int, *, sees_gpu: bool) -> tuple[GpuReport | None, list[Finding]]:
    """The GPU that `--device cuda` takes, and what was found; neither on a machine without one.

    Args:
        threads: of PyTorch, for the description of the machine.
        sees_gpu: whether PyTorch does.
    """
    count = gpu_count()
    if not (sees_gpu or count):
        return None, []
    try:
        report = result_of_child("vlbench.measuring.gpu_speed", GpuReport, threads)
    except WorkerError as error:
        return None, [_unmeasured(str(error)) if sees_gpu else _unseen(str(error), count)]
    return report, gpu_findings(report, several=count > 1)


def gpu_findings(report: GpuReport, *, several: bool = False) -> list[Finding]:
    """What it is, who else uses it, its settings, and what it does under load.

    Args:
        several: whether the machine has more GPUs, so that commands have to name this one.
    """
    command = f"sudo nvidia-smi --id={_nvml_uuid(report.uuid)}" if several else "sudo nvidia-smi"
    findings = [_identity(report), *_others(report), *_settings(report, command)]
    if report.speed is None:
        return [*findings, _unmeasured(report.error or "unknown")]
    return [*findings, *_clock(report, report.speed, command), *_drift(report.speed), _speeds(report.speed)]


def _unmeasured(reason: str) -> Finding:
    change = "fix that; PyTorch and the driver have to fit this GPU"
    if "out of memory" in reason or "ALLOC_FAILED" in reason:
        change = "end what holds its memory: nvidia-smi lists it; 3 GiB are needed"
    return Finding(check="GPU speed", level="unfit", finding=f"could not be measured: {reason}", change=change)


def _unseen(reason: str, count: int) -> Finding:
    """NVML lists GPUs, of which PyTorch can use none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if "not compiled with CUDA" in reason:
        change = f"install a PyTorch with CUDA: {PYTORCH}"
    elif visible is not None and "No CUDA GPUs" in reason:
        reason, change = f"CUDA_VISIBLE_DEVICES={visible!r} hides them", "unset it, to measure on a GPU"
    else:
        change = f"update the driver, or install a PyTorch for it: {PYTORCH}"
    seen = f"{counted(count, 'GPU')} here, but PyTorch can use none"
    return Finding(check="GPU", level="warning", finding=f"{seen}: {reason}", change=change)


def _identity(report: GpuReport) -> Finding:
    machine, settings = report.machine, report.settings
    known = [f"{machine.gpu} ({report.device})"]
    if memory := getattr(machine, "gpu_memory_bytes", None):
        known.append(f"{memory / 2**30:.0f} GiB")
    if settings and settings.driver:
        known.append(f"driver {settings.driver}")
    if settings and settings.ecc is not None:
        known.append(f"ECC {'on' if settings.ecc else 'off'}")
    more, change = "", None
    if report.visible > 1:
        more = f"; the first of {report.visible} that PyTorch sees"
        change = "to check another: CUDA_VISIBLE_DEVICES=N vlbench doctor"
    return Finding(check="GPU", level="note", finding=", ".join(known) + more, change=change)


def _others(report: GpuReport) -> Iterator[Finding]:
    names = ", ".join(report.holders)
    if report.others:
        change = f"end them: {names or 'nvidia-smi lists them'}"
        finding = f"processes of others on it: {report.others}"
        yield Finding(check="GPU processes", level="unfit", finding=finding, change=change)
    elif names:
        finding = f"no other computes; some hold its memory: {names}"
        yield Finding(check="GPU processes", level="note", finding=finding)
    elif report.others == 0:
        yield Finding(check="GPU processes", level="good", finding="no other on it")


def _settings(report: GpuReport, command: str) -> Iterator[Finding]:
    settings = report.settings
    if settings is None:
        yield _no_nvml()
    else:
        yield from _power(settings, command)
        if settings.persistence is False:
            yield Finding(
                check="GPU persistence",
                level="warning",
                finding="off: each fresh process loads the driver, and its settings may be lost in between",
                change=f"{command} --persistence-mode=1",
            )
    name = report.machine.gpu or ""
    if (settings and settings.mig) or " MIG " in name:
        finding = f"on: measured is an instance{_share(report)}; clocks, use and energy are of the whole GPU"
        yield Finding(check="GPU MIG", level="note", finding=finding)


def _no_nvml() -> Finding:
    try:
        importlib.import_module("pynvml")
        change = "see that nvidia-smi works here; a container needs the driver's utilities"
    except ImportError:
        change = 'pip install "vlbench[gpu]"'
    finding = "NVML does not answer: clocks, heat, energy and other processes stay unseen"
    return Finding(check="NVML", level="warning", finding=finding, change=change)


def _share(report: GpuReport) -> str:
    """` with 12% of its memory`, where NVML shows the whole GPU's."""
    part = getattr(report.machine, "gpu_memory_bytes", None)
    whole = report.settings.memory_bytes if report.settings else None
    return f" with {part / whole:.0%} of its memory" if part and whole and part < LARGEST_INSTANCE * whole else ""


def _power(settings: GpuSettings, command: str) -> Iterator[Finding]:
    limit, default = settings.power_limit_watts, settings.default_power_limit_watts
    if limit is None or default is None:
        return
    if limit < default:
        finding, change = f"{limit:.0f} W, by default {default:.0f} W", f"{command} --power-limit={default:.0f}"
        yield Finding(check="GPU power cap", level="warning", finding=finding, change=change)
    else:
        yield Finding(check="GPU power cap", level="good", finding=f"{limit:.0f} W, by default {default:.0f} W")


def _clock(report: GpuReport, speed: GpuSpeed, command: str) -> Iterator[Finding]:
    """What lowered the SM clock under load; a clock that it held all the time is the one to lock."""
    states = speed.load.states
    clocks = [state.clock_mhz for state in states if state.clock_mhz is not None]
    reasons = sorted({reason for state in states for reason in state.throttled})
    lowered = sum(bool(state.throttled) for state in states)
    why = f"lowered {lowered / len(states):.0%} of the time by {', '.join(reasons)}" if reasons else ""
    cool = "cool it, see to its power supply, or lower the power cap"
    slowed = any(state.slowed for state in states)
    if not clocks:  # the driver shows none
        if slowed:
            yield Finding(check="GPU clock", level="unfit", finding=f"{why}, under load", change=cool)
        return
    lowest, middle = min(clocks), median(clocks)
    most = report.settings.max_sm_clock_mhz if report.settings else None
    finding = f"{lowest:.0f} MHz at least, median {middle:.0f}{f' of {most:.0f}' if most else ''}, under load"
    finding += f"; {why}" if why else ""
    lock = f"{command} --lock-gpu-clocks={lowest:.0f},{lowest:.0f} (undo: {command} --reset-gpu-clocks)"
    resting = report.at_rest.clock_mhz if report.at_rest else None
    if slowed:
        yield Finding(check="GPU clock", level="unfit", finding=finding, change=f"{cool}; else {lock}")
    elif max(clocks) - lowest > STEADY * middle:
        yield Finding(check="GPU clock", level="warning", finding=finding, change=lock)
    elif "power cap" in reasons:
        yield Finding(check="GPU clock", level="note", finding=finding, change=lock)
    elif resting is not None and resting < (1 - STEADY) * middle:
        finding += f"; falls to {resting:.0f} at rest"
        yield Finding(check="GPU clock", level="note", finding=finding, change=lock)
    else:
        yield Finding(check="GPU clock", level="good", finding=finding)


def _drift(speed: GpuSpeed) -> Iterator[Finding]:
    rates = speed.load.tflops_per_second
    if len(rates) < LEAST_RATES:
        return
    quarter = len(rates) // 4
    change_of_rate = median(rates[-quarter:]) / median(rates[:quarter]) - 1
    finding = f"a matrix product's rate changes by {change_of_rate:+.1%} under load"
    if abs(change_of_rate) > STEADY:
        change = "cool it, or lock a clock that it holds"
        yield Finding(check="GPU drift", level="warning", finding=finding, change=change)
    else:
        yield Finding(check="GPU drift", level="good", finding=finding)


def _speeds(speed: GpuSpeed) -> Finding:
    products = ", ".join(f"{name} {short_number(rate)}" for name, rate in speed.tflops_per_second.items())
    host = ", ".join(f"{name} {short_number(rate)}" for name, rate in speed.host_gigabytes_per_second.items())
    return Finding(
        check="GPU speed",
        level="note",
        finding=f"matrix products {products} TFLOP/s; memory {short_number(speed.memory_gigabytes_per_second)} GB/s, "
        f"bytes read and written; from the host {host} GB/s",
    )


def _nvml_uuid(uuid: str) -> str:
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"

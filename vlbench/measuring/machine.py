"""The machine and the software that a measurement was made with, and the cores that its processes are pinned to.

On a shared host one virtual core can be slower than the next for as long as its neighbour computes. A scheduler
that moves a process between cores adds that difference to its time, so compared processes are pinned to the same
cores.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from vlbench.frozen import Frozen
from vlbench.measuring.os_counters import ROOT

# What NVML tells of a GPU: another driver or another power cap makes another machine of it.
GPU_HARDWARE = (
    *("gpu_driver", "gpu_memory_bytes", "gpu_power_limit_watts", "gpu_max_sm_clock_mhz", "gpu_max_memory_clock_mhz"),
    *("gpu_mig", "gpu_ecc"),
)
HARDWARE = ("cpu", "cores", "logical_cores", "ram_bytes", "gpu", *GPU_HARDWARE)
RAM_WITHIN = 0.02  # kernels reserve different small parts of it
GPU_SOFTWARE = ("cuda", "cudnn")  # versions that PyTorch was built with
LIBRARIES = ("torch", "torchvision", "numpy", "transformers", "timm", "detectron2")


class Machine(Frozen, extra="allow"):
    """The machine and its software; two measurements are comparable if all but `threads` is equal.

    What only some machines have is present only there: the versions of LIBRARIES, and with a GPU GPU_SOFTWARE and
    GPU_HARDWARE.
    """

    cpu: str
    cores: int
    logical_cores: int
    threads: int
    ram_bytes: int
    gpu: str | None
    os: str
    python: str
    torch: str | None = None
    torchvision: str | None = None

    def same_hardware_and_software(self, other: Machine) -> bool:
        """Whether everything but the number of threads is equal."""
        return self.model_dump(exclude={"threads"}) == other.model_dump(exclude={"threads"})

    def differing_hardware(self, other: Machine) -> list[str]:
        """The names of `HARDWARE` that differ; memory may differ by `RAM_WITHIN`.

        Of two GPUs of the same name, only what is known of both can differ.
        """
        differing = [name for name in HARDWARE if self._differs(name, other)]
        if abs(other.ram_bytes - self.ram_bytes) <= RAM_WITHIN * self.ram_bytes:
            return [name for name in differing if name != "ram_bytes"]
        return differing

    def _differs(self, name: str, other: Machine) -> bool:
        mine, theirs = getattr(self, name, None), getattr(other, name, None)
        if name in GPU_HARDWARE and (self.gpu != other.gpu or mine is None or theirs is None):
            return False
        return bool(mine != theirs)

    def in_few_words(self) -> str:
        """`AMD EPYC, 2 cores`, after the GPU's name if there is one; without words that every processor's name has."""
        gpu = f"{self.gpu}, " if self.gpu else ""
        cpu = re.sub(r"\((R|TM)\)|\bProcessor\b|\bCPU(?= @)", "", self.cpu, flags=re.IGNORECASE)
        return f"{gpu}{' '.join(cpu.split())}, {self.cores} core{'s' if self.cores > 1 else ''}"

    def in_words(self) -> str:
        gpu = f"{gpu_in_words(self.model_dump())}, " if self.gpu else ""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return (
            f"{gpu}{self.cpu}, {self.cores} cores ({self.logical_cores} logical), {threads}, "
            f"{self.ram_bytes / 2**30:.0f} GiB, {self.os}, Python {self.python}, torch {self.torch}"
        )


def gpu_in_words(machine: Mapping[str, Any]) -> str:
    """`NVIDIA H200 (driver 580.95.05, 141 GiB, 700 W, 1980 MHz, memory 3201 MHz)`, as far as it is known; empty without
    one."""
    units = {"gpu_driver": "driver {}", "gpu_memory_gib": "{:.0f} GiB", "gpu_power_limit_watts": "{:.0f} W"}
    units |= {"gpu_max_sm_clock_mhz": "{:.0f} MHz", "gpu_max_memory_clock_mhz": "memory {:.0f} MHz"}
    size = machine.get("gpu_memory_bytes")
    known = {**machine, "gpu_memory_gib": size / 2**30 if isinstance(size, int) else None}
    words = [
        unit.format(known[name])
        for name, unit in units.items()
        if isinstance(known.get(name), str if name == "gpu_driver" else int | float)
    ]
    words += ["MIG"] if machine.get("gpu_mig") is True else []
    words += ["ECC off"] if machine.get("gpu_ecc") is False else []
    name = machine.get("gpu") or ""
    return f"{name} ({', '.join(words)})" if name and words else name


def describe_machine(*, threads: int, gpu: str | None, gpu_settings: Mapping[str, object] | None = None) -> Machine:
    """This machine. Versions are read from package metadata, without importing the packages.

    Args:
        threads: of PyTorch.
        gpu: its name; None without one.
        gpu_settings: GPU_SOFTWARE and GPU_HARDWARE, as far as they are known.
    """
    import psutil  # noqa: PLC0415  like importlib.metadata not needed to read results

    versions = {name: version for name in LIBRARIES if (version := _version(name)) is not None}
    return Machine(
        cpu=_cpu_name(),
        cores=physical_cores(),
        logical_cores=usable_cores(),
        threads=threads,
        ram_bytes=psutil.virtual_memory().total,
        gpu=gpu,
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        **versions,
        **dict(gpu_settings or {}),
    )


def usable_cores() -> int:
    """Logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def physical_cores() -> int:
    """Physical cores, at most those that this process may run on."""
    import psutil  # noqa: PLC0415

    return min(psutil.cpu_count(logical=False) or usable_cores(), usable_cores())


def _version(library: str) -> str | None:
    from importlib import metadata  # noqa: PLC0415

    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


@cache
def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def core_sets(threads: int, root: Path = ROOT) -> list[tuple[int, ...]]:
    """Disjoint sets of `threads` logical cores, each on its own physical core if there are enough of those.

    Empty if `threads` is as many as the cores that this process may run on, and on systems that cannot pin a process
    (all but Linux).
    """
    if not hasattr(os, "sched_getaffinity"):
        return []
    usable = sorted(os.sched_getaffinity(0))
    if threads >= len(usable):
        return []
    first_of: dict[str, int] = {}
    for core in usable:
        first_of.setdefault(_siblings(core, root), core)
    physical = list(first_of.values())
    if len(physical) < threads:
        return [tuple(physical + [core for core in usable if core not in physical])[:threads]]
    return [tuple(physical[start : start + threads]) for start in range(0, len(physical) - threads + 1, threads)]


def confine(pid: int, cores: tuple[int, ...]) -> None:
    """Pins every thread of a process and of its descendants to these cores; threads that start later inherit it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                for thread in process.threads():
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(thread.id, cores)


def _siblings(core: int, root: Path) -> str:
    """The logical cores on the same physical core, as Linux writes them; the core itself if that is unknown."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(core)

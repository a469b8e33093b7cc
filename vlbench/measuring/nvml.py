"""The state of one GPU from NVIDIA's management library (NVML): clocks, throttling, energy, other processes, settings.

Needs the package nvidia-ml-py (`pip install vlbench[gpu]`). Without it, or if the driver does not report a figure, the
figure is None.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vlbench.measuring.os_counters import ROOT

# Bits of nvmlClocksEventReasons in nvml.h, without the one that says that the GPU is idle.
_REASONS = {
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "power brake",
    0x100: "display clocks",
}
# Reasons that lower the clock below the requested one because of heat or power supply. A power cap is not among them: a
# large GPU reaches it under full load, and it is visible in the clock.
SLOWDOWNS = frozenset({"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """A GPU at one moment; `others` counts the processes of others that compute there."""

    clock_mhz: float | None
    throttled: tuple[str, ...]
    others: int | None

    @property
    def slowed(self) -> bool:
        """Whether heat or its power supply lowers its clock."""
        return bool(SLOWDOWNS & set(self.throttled))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSettings:
    """What a GPU is and how it is set up; what the driver does not report is None."""

    driver: str | None
    memory_bytes: int | None
    power_limit_watts: float | None
    default_power_limit_watts: float | None
    max_sm_clock_mhz: float | None
    max_memory_clock_mhz: float | None
    persistence: bool | None
    mig: bool | None
    ecc: bool | None


class Gpu:
    """One GPU, for one measurement.

    Args:
        device: PyTorch's name, `cuda` or `cuda:1`.
        uuid: of the GPU, as `torch.cuda.get_device_properties(device).uuid`. Without it the device is looked up in
            CUDA_VISIBLE_DEVICES, and otherwise its index is NVML's.
        holds_context: whether this process itself uses the GPU.
        root: the folder that contains `proc`; another one in tests.
    """

    def __init__(
        self, device: str = "cuda", uuid: str | None = None, *, holds_context: bool = True, root: Path = ROOT
    ) -> None:
        self._holds_context, self._root = holds_context, root
        self.members: tuple[int, ...] = ()  # pids of the processes that take turns with this one
        self._nvml: Any = None
        self._handle: Any = None
        try:
            self._nvml = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._find(device, uuid)
        except Exception:  # a missing package, library, driver or GPU raises all kinds of errors
            self._nvml = None
        self._since_us = int(time.time() * 1e6)

    def look(self) -> GpuState | None:
        """The present state; None without NVML."""
        if self._nvml is None:
            return None
        nvml, handle = self._nvml, self._handle
        clock = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        return GpuState(
            clock_mhz=None if clock is None else float(clock), throttled=self._throttled(), others=self._others()
        )

    def slowed(self) -> bool:
        """Whether heat or its power supply lowers its clock at this moment; False without NVML."""
        return self._nvml is not None and bool(SLOWDOWNS & set(self._throttled()))

    def joules(self) -> float | None:
        """What it has consumed since its driver was loaded."""
        millijoules = self._reported("TotalEnergyConsumption")
        return None if millijoules is None else millijoules / 1e3

    def settings(self) -> GpuSettings | None:
        """None without NVML."""
        if self._nvml is None:
            return None
        nvml, memory = self._nvml, self._reported("MemoryInfo")
        return GpuSettings(
            driver=self._ask(nvml.nvmlSystemGetDriverVersion),
            memory_bytes=memory and memory.total,
            power_limit_watts=_thousandth(self._reported("EnforcedPowerLimit")),
            default_power_limit_watts=_thousandth(self._reported("PowerManagementDefaultLimit")),
            max_sm_clock_mhz=self._reported("MaxClockInfo", nvml.NVML_CLOCK_SM),
            max_memory_clock_mhz=self._reported("MaxClockInfo", nvml.NVML_CLOCK_MEM),
            persistence=_is_on(self._reported("PersistenceMode")),
            mig=_is_on(self._reported("MigMode")),
            ecc=_is_on(self._reported("EccMode")),
        )

    def holders(self) -> tuple[int, ...]:
        """Other processes that hold a context there; none where a container hides their numbers."""
        running = {process.pid for process in self._reported("ComputeRunningProcesses") or ()}
        hidden = self._holds_context and os.getpid() not in running
        return () if hidden else tuple(sorted(running - {os.getpid()}))

    def _throttled(self) -> tuple[str, ...]:
        bits = self._reported("CurrentClocksEventReasons")
        if bits is None:  # drivers before 535
            bits = self._reported("CurrentClocksThrottleReasons")
        return tuple(words for bit, words in _REASONS.items() if (bits or 0) & bit)

    def _others(self) -> int | None:
        """How many processes of others computed since this object was made, or, if that is unknown, hold a context.

        Members of this measurement are no others, nor are the processes that started it and only hold a context, as
        `vlbench train` does while the latency of what it trained is measured.
        """
        nvml, this_process = self._nvml, os.getpid()
        running = self._reported("ComputeRunningProcesses")
        if running is None:
            return None
        holders = {process.pid for process in running}
        members, ancestors = {this_process, *self.members}, {parent.pid for parent in _ancestors()}
        if self._holds_context and this_process not in holders:  # in a container, NVML lists the host's process ids
            return max(0, len(holders) - self._contexts(members, ancestors))
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._since_us)
        except nvml.NVMLError as error:
            nothing_ran = getattr(error, "value", None) == getattr(nvml, "NVML_ERROR_NOT_FOUND", object())
            return 0 if nothing_ran else len(holders - members - ancestors)
        return len({sample.pid for sample in samples if sample.smUtil > 0} & holders - members)

    def _contexts(self, members: set[int], ancestors: set[int]) -> int:
        """How many of these processes hold a context of CUDA, for which each opens the device of unified memory."""
        return len(members) + sum(self._opens_unified_memory(pid) for pid in ancestors)

    def _opens_unified_memory(self, pid: int) -> bool:
        with suppress(OSError):
            return any(_target(file) == "/dev/nvidia-uvm" for file in (self._root / f"proc/{pid}/fd").iterdir())
        return False

    def _find(self, device: str, uuid: str | None) -> Any:
        """The handle. CUDA's own number may differ from NVML's, so a name is tried first."""
        index = int(device.partition(":")[2] or 0)
        visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        named = visible[index] if index < len(visible) else str(index)
        names = [named] if named.startswith("MIG-") else []  # CUDA may name the whole GPU instead
        if uuid is not None:
            names += [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]
        for name in names:
            with suppress(self._nvml.NVMLError):
                return self._nvml.nvmlDeviceGetHandleByUUID(name)
        if named.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(named))
        return next(handle for handle in self._handles() if self._nvml.nvmlDeviceGetUUID(handle).startswith(named))

    def _handles(self) -> Iterator[Any]:
        for index in range(self._nvml.nvmlDeviceGetCount()):
            yield self._nvml.nvmlDeviceGetHandleByIndex(index)

    def _reported(self, what: str, *arguments: Any) -> Any:
        """The answer of `nvmlDeviceGet...`; None without NVML, or if this driver or its package does not know it."""
        question = getattr(self._nvml, f"nvmlDeviceGet{what}", None)
        return None if question is None else self._ask(lambda: question(self._handle, *arguments))

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._nvml.NVMLError:
            return None


def gpu_count() -> int:
    """How many GPUs NVML lists, also those that are hidden from CUDA; 0 without NVML."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        return int(nvml.nvmlDeviceGetCount())
    except Exception:  # as above
        return 0


def _ancestors() -> Sequence[psutil.Process]:
    with suppress(psutil.Error):
        return psutil.Process().parents()
    return []


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1e3


def _is_on(answer: Any) -> bool | None:
    """Of a mode, or of a pair of the present and the next one."""
    present = answer[0] if isinstance(answer, list | tuple) else answer
    return None if present is None else bool(present)

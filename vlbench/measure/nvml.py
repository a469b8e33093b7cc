"""The state of one GPU from NVIDIA's management library (NVML): SM clock, throttling, other processes.

Needs the package nvidia-ml-py (`pip install vlbench[gpu]`). Without it, or if the driver does not report a figure, the
figure is None.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
    """A GPU at one moment; `others` counts the other processes that compute there."""

    clock_mhz: float | None
    throttled: tuple[str, ...]
    others: int | None


class Gpu:
    """One GPU, for one measurement.

    Args:
        device: PyTorch's name, `cuda` or `cuda:1`.
        uuid: of the GPU, as `torch.cuda.get_device_properties(device).uuid`. Without it the device is looked up in
            CUDA_VISIBLE_DEVICES, and otherwise its index is NVML's.
        holds_context: whether this process itself uses the GPU.
    """

    def __init__(self, device: str = "cuda", uuid: str | None = None, *, holds_context: bool = True) -> None:
        self._holds_context = holds_context
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
        bits = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        if bits is None:  # drivers before 535
            bits = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        clock = self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        return GpuState(
            clock_mhz=None if clock is None else float(clock),
            throttled=tuple(words for bit, words in _REASONS.items() if (bits or 0) & bit),
            others=self._others(),
        )

    def _others(self) -> int | None:
        """How many other processes computed since this object was made, or, if that is unknown, hold a context."""
        nvml, this_process = self._nvml, os.getpid()
        running = self._ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        if running is None:
            return None
        holders = {process.pid for process in running}
        if this_process not in holders:  # in a container, NVML lists the host's process ids
            return max(0, len(holders) - self._holds_context)
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._since_us)
        except nvml.NVMLError as error:
            nothing_ran = getattr(error, "value", None) == getattr(nvml, "NVML_ERROR_NOT_FOUND", object())
            return 0 if nothing_ran else len(holders - {this_process})
        return len({sample.pid for sample in samples if sample.smUtil > 0} & holders - {this_process})

    def _find(self, device: str, uuid: str | None) -> Any:
        index = int(device.partition(":")[2] or 0)
        if uuid is None:
            visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
            uuid = visible[index] if index < len(visible) else str(index)
        if uuid.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(uuid))
        return self._nvml.nvmlDeviceGetHandleByUUID(uuid if "-" in uuid[:4] else f"GPU-{uuid}")

    def _ask(self, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except self._nvml.NVMLError:
            return None

"""What NVIDIA's management library tells of one GPU: SM clock, lowered clocks, who else computes there.

Needs the package nvidia-ml-py (`pip install vlbench[gpu]`); without it, or where the driver does not tell, None.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Bits of nvmlClocksEventReasons in nvml.h; that the GPU is idle is no reason worth telling.
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
# Those that lower the clock below what was asked for, by heat or by a fault of supply. A power cap is how a large GPU
# works under full load; it shows in the clock.
SLOWDOWNS = frozenset({"hardware slowdown", "software thermal slowdown", "hardware thermal slowdown", "power brake"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuState:
    """One look at a GPU."""

    clock_mhz: float | None
    throttled: tuple[str, ...]
    others: int | None


class Gpu:
    """One GPU, for one measurement.

    Args:
        device: PyTorch's name, `cuda` or `cuda:1`.
        uuid: the GPU's own, as `torch.cuda.get_device_properties(device).uuid`; without it the device is looked up in
            CUDA_VISIBLE_DEVICES, and then taken as NVML's index.
        holds_context: whether this process uses the GPU itself.
    """

    def __init__(self, device: str = "cuda", uuid: str | None = None, *, holds_context: bool = True) -> None:
        self._holds_context = holds_context
        self._nvml: Any = None
        self._handle: Any = None
        try:
            self._nvml = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            self._handle = self._find(device, uuid)
        except Exception:  # whatever a missing package, library, driver or GPU raises, there is nothing to read
            self._nvml = None
        self._since_us = int(time.time() * 1e6)

    def look(self) -> GpuState | None:
        """None where NVML is not there."""
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
        """Other processes that computed since this object was made, or, where that is not told, hold a context."""
        nvml, own = self._nvml, os.getpid()
        running = self._ask(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(self._handle))
        if running is None:
            return None
        holders = {process.pid for process in running}
        if own not in holders:  # a container sees the host's numbers, of which one is its own
            return max(0, len(holders) - self._holds_context)
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(self._handle, self._since_us)
        except nvml.NVMLError as error:
            nothing_ran = getattr(error, "value", None) == getattr(nvml, "NVML_ERROR_NOT_FOUND", object())
            return 0 if nothing_ran else len(holders - {own})
        return len({sample.pid for sample in samples if sample.smUtil > 0} & holders - {own})

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

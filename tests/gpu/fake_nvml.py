"""A stand-in for the package pynvml, with GPUs whose state a test decides. It answers as nvml.h says."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NOT_SUPPORTED, NOT_FOUND = 3, 6
SLOWED, HOT = 0x008, 0x020  # bits of the reasons: hardware slowdown, software thermal slowdown


@dataclass
class FakeGpu:
    """One GPU. `absent` names the questions that its driver does not answer.

    Attributes:
        clocks: of the SMs in MHz, a reading each; the last one stays.
        reasons: bits of nvmlClocksEventReasons, a reading each; the last one stays.
        pids: processes that hold a context.
        contexts: a file with one more pid a line, where FakeCuda adds its own; the pids of processes that ended do not
            count.
        hidden: what is added to these pids: a container has its own.
        use: percent by process, or the error that the driver answers.
        watts: what the energy counter rises by a second.
    """

    uuid: str = "GPU-0b6f1c9e-5d2a-4c7e-9a51-fd3f2c0a7b11"
    clocks: list[int] = field(default_factory=lambda: [1980])
    reasons: list[int] = field(default_factory=lambda: [0])
    pids: list[int] = field(default_factory=lambda: [os.getpid()])
    contexts: str | None = None
    hidden: int = 0
    use: dict[int, int] | int = NOT_SUPPORTED
    watts: float = 500.0
    power_limit_mw: int = 700_000
    default_power_limit_mw: int = 700_000
    max_clock: int = 1980
    max_memory_clock: int = 3201
    memory_bytes: int = 143_771 * 2**20
    persistence: int = 1
    mig: int = 0
    ecc: int = 1
    absent: tuple[str, ...] = ()


class FakeNvml:
    """The module. A handle is the GPU itself.

    Args:
        clock: seconds of the machine, for the energy counter.
    """

    NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
    NVML_ERROR_NOT_FOUND = NOT_FOUND
    NVML_DEVICE_MIG_ENABLE = NVML_FEATURE_ENABLED = 1

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(value)
            self.value = value

    def __init__(self, *gpus: FakeGpu, driver: str = "580.95.05", clock: Any = time.monotonic) -> None:
        self.gpus = gpus or (FakeGpu(),)
        self.driver, self.clock = driver, clock
        self.asked: list[FakeGpu] = []

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer(self.gpus[0], "init", None)

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:  # noqa: N802
        if index >= len(self.gpus):
            raise self.NVMLError(NOT_FOUND)
        return self._found(self.gpus[index])

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:  # noqa: N802
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return self._found(gpu)
        raise self.NVMLError(NOT_FOUND)

    def _found(self, gpu: FakeGpu) -> FakeGpu:
        self.asked.append(gpu)
        return self._answer(gpu, "handle", gpu)

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:  # noqa: N802
        return gpu.uuid

    def nvmlDeviceGetClockInfo(self, gpu: FakeGpu, kind: int) -> int:  # noqa: N802
        assert kind == self.NVML_CLOCK_SM
        return self._answer(gpu, "clock", _next(gpu.clocks))

    def nvmlDeviceGetMaxClockInfo(self, gpu: FakeGpu, kind: int) -> int:  # noqa: N802
        return self._answer(gpu, "max clock", gpu.max_clock if kind == self.NVML_CLOCK_SM else gpu.max_memory_clock)

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "event reasons", _next(gpu.reasons))

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "throttle reasons", _next(gpu.reasons))

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: FakeGpu) -> list[Any]:  # noqa: N802
        holders = [*gpu.pids, *(pid + gpu.hidden for pid in _living(gpu.contexts))]
        return self._answer(gpu, "processes", [SimpleNamespace(pid=pid) for pid in holders])

    def nvmlDeviceGetProcessUtilization(self, gpu: FakeGpu, since: int) -> list[Any]:  # noqa: N802
        if isinstance(gpu.use, int):
            raise self.NVMLError(gpu.use)
        return [SimpleNamespace(pid=pid, smUtil=percent) for pid, percent in gpu.use.items()]

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: FakeGpu) -> int:  # noqa: N802
        """In millijoules."""
        return self._answer(gpu, "energy", round(self.clock() * gpu.watts * 1e3))

    def nvmlDeviceGetPowerUsage(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "power", round(gpu.watts * 1e3))

    def nvmlDeviceGetEnforcedPowerLimit(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "power limit", gpu.power_limit_mw)

    def nvmlDeviceGetPowerManagementDefaultLimit(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "power limit", gpu.default_power_limit_mw)

    def nvmlDeviceGetMemoryInfo(self, gpu: FakeGpu) -> Any:  # noqa: N802
        return self._answer(gpu, "memory", SimpleNamespace(total=gpu.memory_bytes))

    def nvmlDeviceGetPersistenceMode(self, gpu: FakeGpu) -> int:  # noqa: N802
        return self._answer(gpu, "persistence", gpu.persistence)

    def nvmlDeviceGetMigMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        return self._answer(gpu, "mig", [gpu.mig, gpu.mig])

    def nvmlDeviceGetEccMode(self, gpu: FakeGpu) -> list[int]:  # noqa: N802
        return self._answer(gpu, "ecc", [gpu.ecc, gpu.ecc])

    def _answer(self, gpu: FakeGpu, what: str, value: Any) -> Any:
        if what in gpu.absent:
            raise self.NVMLError(NOT_SUPPORTED)
        return value


def _living(contexts: str | None) -> set[int]:
    if contexts is None or not Path(contexts).exists():
        return set()
    return {int(pid) for pid in Path(contexts).read_text().split() if Path("/proc", pid).exists()}


def _next(readings: list[int]) -> int:
    return readings.pop(0) if len(readings) > 1 else readings[0]

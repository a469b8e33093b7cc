"""The GPU's state through a stand-in for pynvml that answers as nvml.h says."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from vlbench.measure.noise import why_contended
from vlbench.measure.nvml import Gpu
from vlbench.measure.observe import Observer

NOT_SUPPORTED, NOT_FOUND = 3, 6


class FakeNVML:
    """Two GPUs; `absent` names the functions that this driver does not have."""

    NVML_CLOCK_SM = 1
    NVML_ERROR_NOT_FOUND = NOT_FOUND

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            self.value = value

    def __init__(self, **state: Any) -> None:
        self.asked: list[Any] = []
        self.clocks = list(state.get("clocks", [1980]))
        self.reasons = state.get("reasons", 0)
        self.pids = state.get("pids", [os.getpid()])
        self.use: dict[int, int] | int = state.get("use", NOT_SUPPORTED)
        self.absent = state.get("absent", ())

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer("init", None)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return self._answer("index", f"index {index}")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return self._answer("uuid", uuid)

    def nvmlDeviceGetClockInfo(self, handle: str, kind: int) -> int:  # noqa: N802
        assert kind == self.NVML_CLOCK_SM
        return self._answer("clock", self.clocks.pop(0) if len(self.clocks) > 1 else self.clocks[0])

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:  # noqa: N802
        return self._answer("event reasons", self.reasons)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:  # noqa: N802
        return self._answer("throttle reasons", self.reasons)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:  # noqa: N802
        return self._answer("processes", [SimpleNamespace(pid=pid) for pid in self.pids])

    def nvmlDeviceGetProcessUtilization(self, handle: str, since: int) -> list[Any]:  # noqa: N802
        if isinstance(self.use, int):
            raise self.NVMLError(self.use)
        return [SimpleNamespace(pid=pid, smUtil=percent) for pid, percent in self.use.items()]

    def _answer(self, what: str, value: Any) -> Any:
        self.asked.append(value)
        if what in self.absent:
            raise self.NVMLError(NOT_SUPPORTED)
        return value


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(**state: Any) -> FakeNVML:
        nvml = FakeNVML(**state)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
        return nvml

    return install


def test_clock_and_reasons(fake: Any) -> None:
    fake(clocks=[1410], reasons=0x1 | 0x4 | 0x40)  # idle, power cap, hardware thermal slowdown
    state = Gpu().look()
    assert state is not None
    assert (state.clock_mhz, state.throttled) == (1410, ("power cap", "hardware thermal slowdown"))


def test_an_older_driver_calls_them_throttle_reasons(fake: Any) -> None:
    fake(reasons=0x8, absent=("event reasons",))
    state = Gpu().look()
    assert state is not None
    assert state.throttled == ("hardware slowdown",)


def test_what_the_driver_does_not_tell_is_none(fake: Any) -> None:
    fake(absent=("clock", "event reasons", "throttle reasons", "processes"))
    state = Gpu().look()
    assert state is not None
    assert (state.clock_mhz, state.throttled, state.others) == (None, (), None)


@pytest.mark.parametrize("absent", [("init",), ("index",)])
def test_no_driver_or_no_gpu_tells_nothing(fake: Any, absent: tuple[str, ...]) -> None:
    fake(absent=absent)
    assert Gpu().look() is None


def test_no_package_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it raises ImportError
    assert Gpu().look() is None
    observer = Observer(None, "cuda")
    observer.start()
    assert observer.finish().gpu_clock_mhz is None


OWN, OTHER, IDLE = os.getpid(), 99_999_001, 99_999_002


@pytest.mark.parametrize(
    ("pids", "use", "others"),
    [
        ([OWN], NOT_FOUND, 0),
        ([OWN, OTHER, IDLE], NOT_SUPPORTED, 2),  # the driver tells only who holds the GPU
        ([OWN, OTHER, IDLE], NOT_FOUND, 0),  # nobody computed
        ([OWN, OTHER, IDLE], {OWN: 90, OTHER: 40, IDLE: 0}, 1),
        ([OTHER], NOT_SUPPORTED, 0),  # a container sees this process under the host's number
        ([OTHER, IDLE], NOT_SUPPORTED, 1),
    ],
)
def test_other_processes(fake: Any, pids: list[int], use: Any, others: int) -> None:
    fake(pids=pids, use=use)
    state = Gpu().look()
    assert state is not None
    assert state.others == others


def test_a_process_that_does_not_use_the_gpu_counts_all_that_do(fake: Any) -> None:
    fake(pids=[OTHER])
    state = Gpu(holds_context=False).look()
    assert state is not None
    assert state.others == 1


@pytest.mark.parametrize(
    ("device", "uuid", "visible", "asked"),
    [
        ("cuda", None, None, "index 0"),
        ("cuda:1", None, None, "index 1"),
        ("cuda:1", None, "3,2", "index 2"),
        ("cuda", None, "GPU-abc", "GPU-abc"),
        ("cuda", "abcd-12", "3", "GPU-abcd-12"),
        ("cuda", "GPU-abc", None, "GPU-abc"),
        ("cuda", "MIG-abc", None, "MIG-abc"),
    ],
)
def test_the_right_gpu_is_asked(
    fake: Any, monkeypatch: pytest.MonkeyPatch, device: str, uuid: str | None, visible: str | None, asked: str
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = fake()
    Gpu(device, uuid)
    assert asked in nvml.asked


def test_the_observer_keeps_the_lowest_clock_and_every_reason(fake: Any) -> None:
    fake(clocks=[1980, 1410, 1700], reasons=0x20, pids=[OWN, OTHER])
    observer = Observer(None, "cuda")
    observer.start()
    observer.between_blocks()
    observer.between_blocks()
    interference = observer.finish()
    assert interference.gpu_clock_mhz == 1410
    assert interference.gpu_throttle_reasons == ("software thermal slowdown",)
    assert interference.gpu_other_processes == 1
    assert "software thermal slowdown" in (why_contended(interference) or "")

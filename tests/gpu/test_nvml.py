"""The GPU's state through a stand-in for pynvml that answers as nvml.h says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.gpu.fake_nvml import HOT, NOT_FOUND, NOT_SUPPORTED, SLOWED, FakeGpu, FakeNvml
from vlbench.measuring.noise import why_contended
from vlbench.measuring.nvml import Gpu
from vlbench.measuring.observe import Observer

FIRST, SECOND = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
MIG = "MIG-33333333-cccc"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeNvml]:
    """Two GPUs and an instance of MIG, of which the first is in a state that the test decides."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(**state: Any) -> FakeNvml:
        nvml = FakeNvml(FakeGpu(uuid=FIRST, **state), FakeGpu(uuid=SECOND), FakeGpu(uuid=MIG))
        monkeypatch.setitem(sys.modules, "pynvml", nvml)  # type: ignore[arg-type]
        return nvml

    return install


def test_clock_and_reasons(fake: Callable[..., FakeNvml]) -> None:
    fake(clocks=[1410], reasons=[0x1 | 0x4 | 0x40])  # idle, power cap, hardware thermal slowdown
    state = Gpu().look()
    assert state is not None
    assert (state.clock_mhz, state.throttled) == (1410, ("power cap", "hardware thermal slowdown"))


def test_an_older_driver_calls_them_throttle_reasons(fake: Callable[..., FakeNvml]) -> None:
    fake(reasons=[SLOWED], absent=("event reasons",))
    state = Gpu().look()
    assert state is not None
    assert state.throttled == ("hardware slowdown",)


def test_what_the_driver_does_not_tell_is_none(fake: Callable[..., FakeNvml]) -> None:
    fake(absent=("clock", "event reasons", "throttle reasons", "processes"))
    state = Gpu().look()
    assert state is not None
    assert (state.clock_mhz, state.throttled, state.others) == (None, (), None)


@pytest.mark.parametrize("absent", [("init",), ("handle",)])
def test_no_driver_or_no_gpu_tells_nothing(fake: Callable[..., FakeNvml], absent: tuple[str, ...]) -> None:
    fake(absent=absent)
    assert Gpu().look() is None


def test_no_package_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it raises ImportError
    assert Gpu().look() is None
    observer = Observer(None, Gpu())
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
def test_other_processes(fake: Callable[..., FakeNvml], pids: list[int], use: Any, others: int) -> None:
    fake(pids=pids, use=use)
    state = Gpu().look()
    assert state is not None
    assert state.others == others


def test_a_process_that_does_not_use_the_gpu_counts_all_that_do(fake: Callable[..., FakeNvml]) -> None:
    fake(pids=[OTHER])
    state = Gpu(holds_context=False).look()
    assert state is not None
    assert state.others == 1


@pytest.mark.parametrize("use", [NOT_SUPPORTED, {OWN: 50, OTHER: 90, IDLE: 80}])
def test_members_that_take_turns_are_no_others(fake: Callable[..., FakeNvml], use: Any) -> None:
    fake(pids=[OWN, OTHER, IDLE], use=use)
    gpu = Gpu()
    gpu.members = (OWN, OTHER)
    state = gpu.look()
    assert state is not None
    assert state.others == 1


def test_members_count_where_a_container_or_mig_hides_their_pids(fake: Callable[..., FakeNvml]) -> None:
    """The driver lists four of the host's pids: those of three members, and one of somebody else."""
    fake(pids=[501, 502, 503, 504])
    gpu = Gpu()
    gpu.members = (OWN, OTHER, IDLE)
    state = gpu.look()
    assert state is not None
    assert state.others == 1


@pytest.mark.parametrize(
    ("use", "others"),
    [
        (NOT_SUPPORTED, 0),
        (NOT_FOUND, 0),
        ({OWN: 90}, 0),
        ({OWN: 90, os.getppid(): 70}, 1),  # it computes meanwhile
    ],
)
def test_what_started_this_process_may_hold_the_gpu_but_not_compute(
    fake: Callable[..., FakeNvml], use: Any, others: int
) -> None:
    fake(pids=[OWN, os.getppid()], use=use)
    state = Gpu().look()
    assert state is not None
    assert state.others == others


def test_what_started_it_counts_in_a_container_if_it_opens_unified_memory(
    fake: Callable[..., FakeNvml], tmp_path: Path
) -> None:
    ancestors = [parent.pid for parent in psutil.Process().parents()]
    files = tmp_path / "proc" / str(ancestors[0]) / "fd"
    files.mkdir(parents=True)
    (files / "3").symlink_to("/dev/nvidia-uvm")
    fake(pids=[501, 502])
    state = Gpu(root=tmp_path).look()
    assert state is not None
    assert state.others == 0
    (files / "3").unlink()
    state = Gpu(root=tmp_path).look()
    assert state is not None
    assert state.others == 1


@pytest.mark.parametrize(
    ("device", "uuid", "visible", "asked"),
    [
        ("cuda", None, None, FIRST),
        ("cuda:1", None, None, SECOND),
        ("cuda:1", None, "2,1", SECOND),
        ("cuda:1", None, f"{SECOND},{FIRST}", FIRST),
        ("cuda", None, "GPU-2222", SECOND),  # CUDA takes the start of a name
        ("cuda", "22222222-bbbb", "0", SECOND),  # CUDA counts the fastest first, NVML by bus
        ("cuda", SECOND, None, SECOND),
        ("cuda", None, MIG, MIG),
        ("cuda", "33333333-cccc", None, MIG),
        ("cuda", "11111111-aaaa", MIG, MIG),  # CUDA names the GPU around the instance
    ],
)
def test_the_right_gpu_is_asked(
    fake: Callable[..., FakeNvml],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    uuid: str | None,
    visible: str | None,
    asked: str,
) -> None:
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml = fake()
    gpu = Gpu(device, uuid)
    assert gpu.look() is not None
    assert nvml.asked[-1].uuid == asked


@pytest.mark.parametrize("visible", ["7", "GPU-9999", MIG[:-1] + "d"])
def test_a_gpu_that_is_not_there_tells_nothing(
    fake: Callable[..., FakeNvml], monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    fake()
    gpu = Gpu()
    assert (gpu.look(), gpu.settings(), gpu.joules(), gpu.slowed()) == (None, None, None, False)


def test_settings_and_energy(fake: Callable[..., FakeNvml]) -> None:
    nvml = fake(power_limit_mw=350_000, mig=1, ecc=0, persistence=0, watts=200.0)
    nvml.clock = lambda: 60.0
    gpu = Gpu()
    settings = gpu.settings()
    assert settings is not None
    assert (settings.driver, settings.memory_bytes) == ("580.95.05", 143_771 * 2**20)
    assert (settings.power_limit_watts, settings.default_power_limit_watts) == (350, 700)
    assert (settings.max_sm_clock_mhz, settings.max_memory_clock_mhz) == (1980, 3201)
    assert (settings.persistence, settings.mig, settings.ecc) == (False, True, False)
    assert gpu.joules() == 12_000


def test_settings_that_a_driver_does_not_know_are_none(fake: Callable[..., FakeNvml]) -> None:
    fake(absent=("power limit", "max clock", "persistence", "mig", "ecc", "memory", "energy"))
    settings = Gpu().settings()
    assert settings is not None
    assert (settings.power_limit_watts, settings.mig, settings.ecc, settings.memory_bytes) == (None, None, None, None)
    assert Gpu().joules() is None


def test_only_heat_and_a_lack_of_power_slow_it(fake: Callable[..., FakeNvml]) -> None:
    fake(reasons=[0x4, SLOWED, HOT, 0])  # a power cap is its usual state under load
    gpu = Gpu()
    assert [gpu.slowed() for _ in range(4)] == [False, True, True, False]


def test_the_observer_keeps_the_lowest_clock_and_every_reason(fake: Callable[..., FakeNvml]) -> None:
    fake(clocks=[1980, 1410, 1700], reasons=[HOT], pids=[OWN, OTHER])
    observer = Observer(None, Gpu())
    observer.start()
    observer.between_blocks()
    observer.between_blocks()
    interference = observer.finish()
    assert interference.gpu_clock_mhz == 1410
    assert interference.gpu_throttle_reasons == ("software thermal slowdown",)
    assert interference.gpu_other_processes == 1
    assert "software thermal slowdown" in (why_contended(interference) or "")


def test_the_package_knows_every_question_and_constant_of_the_stand_in() -> None:
    pynvml = pytest.importorskip("pynvml")
    names = [name for name in vars(FakeNvml) if name.lower().startswith("nvml")]
    assert len(names) > 20
    assert [name for name in names if not hasattr(pynvml, name)] == []
    for name in ("NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_ERROR_NOT_FOUND"):
        assert getattr(pynvml, name) == getattr(FakeNvml, name)
    assert pynvml.NVML_ERROR_NOT_SUPPORTED == NOT_SUPPORTED
    assert issubclass(pynvml.NVMLError, Exception)

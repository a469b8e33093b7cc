"""Findings of the doctor on a GPU from known figures: what is wrong with it, and the command that mends it."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.gpu.fake_nvml import FakeNvml
from vlbench.doctor.findings import Finding
from vlbench.doctor.gpu import gpu_findings
from vlbench.measuring.machine import describe_machine
from vlbench.measuring.nvml import GpuSettings, GpuState
from vlbench.measuring.records import GpuLoad, GpuReport, GpuSpeed

GIB = 2**30
LOCK = "sudo nvidia-smi --lock-gpu-clocks={0},{0} (undo: sudo nvidia-smi --reset-gpu-clocks)"


def state(clock: float | None = 1980, *throttled: str, others: int | None = 0) -> GpuState:
    return GpuState(clock_mhz=clock, throttled=throttled, others=others)


def settings(**values: Any) -> GpuSettings:
    usual: dict[str, Any] = {
        "driver": "580.95.05",
        "memory_bytes": 140 * GIB,
        "power_limit_watts": 700.0,
        "default_power_limit_watts": 700.0,
        "max_sm_clock_mhz": 1980.0,
        "max_memory_clock_mhz": 3201.0,
        "persistence": True,
        "mig": False,
        "ecc": True,
    }
    return GpuSettings(**usual | values)


def speed(*states: GpuState, rates: tuple[float, ...] = (700.0,) * 50) -> GpuSpeed:
    return GpuSpeed(
        tflops_per_second={"fp32": 51.2, "bf16": 712.3, "fp16": 698.0},
        memory_gigabytes_per_second=4123.4,
        host_gigabytes_per_second={"pinned": 55.1, "pageable": 9.87},
        load=GpuLoad(tflops_per_second=rates, states=states),
    )


def report(**values: Any) -> GpuReport:
    """A GPU that has nothing wrong with it."""
    fine: dict[str, Any] = {
        "machine": describe_machine(threads=1, gpu="NVIDIA H200", gpu_settings={"gpu_memory_bytes": 139 * GIB}),
        "device": "cuda:0",
        "uuid": "0b6f1c9e",
        "visible": 1,
        "settings": settings(),
        "at_rest": state(),
        "others": 0,
        "holders": (),
        "speed": speed(*[state()] * 50),
        "error": None,
    }
    return GpuReport(**fine | values)


def checks(*, several: bool = False, **values: Any) -> dict[str, Finding]:
    return {finding.check: finding for finding in gpu_findings(report(**values), several=several)}


def test_a_gpu_that_has_nothing_wrong() -> None:
    findings = checks()
    assert {check: finding.level for check, finding in findings.items()} == {
        "GPU": "note",
        "GPU processes": "good",
        "GPU power cap": "good",
        "GPU clock": "good",
        "GPU drift": "good",
        "GPU speed": "note",
    }
    assert findings["GPU"].finding == "NVIDIA H200 (cuda:0), 139 GiB, driver 580.95.05, ECC on"
    assert findings["GPU clock"].finding == "1980 MHz at least, median 1980 of 1980, under load"
    assert findings["GPU speed"].finding == (
        "matrix products fp32 51.2, bf16 712, fp16 698 TFLOP/s; memory 4,123 GB/s, bytes read and written; "
        "from the host pinned 55.1, pageable 9.87 GB/s"
    )
    assert [finding.change for finding in findings.values() if finding.change] == []


@pytest.mark.parametrize("cause", ["software thermal slowdown", "hardware slowdown", "power brake"])
def test_heat_or_a_lack_of_power_is_unfit(cause: str) -> None:
    """In a quarter of the looks; the clock to lock is one that it held then, too."""
    clock = checks(speed=speed(*[state()] * 30, *[state(1410, cause)] * 9, state(1395, cause)))["GPU clock"]
    assert clock.level == "unfit"
    assert clock.finding == f"1395 MHz at least, median 1980 of 1980, under load; lowered 25% of the time by {cause}"
    assert clock.change == (f"cool it, see to its power supply, or lower the power cap; else {LOCK.format(1395)}")


@pytest.mark.parametrize(
    ("states", "resting", "level", "locked"),
    [
        ([state(1980)] * 25 + [state(1700, "power cap")] * 25, 1980, "warning", 1700),  # it wanders
        ([state(1755, "power cap")] * 50, 1755, "note", 1755),  # it does not
        ([state(1980)] * 25 + [state(1700)] * 25, 1980, "warning", 1700),  # for a reason that is not told
        ([state(1980)] * 50, 345, "note", 1980),  # it falls between measurements
        ([state(1980)] * 50, None, "good", None),
        ([state(1500)] * 50, 1500, "good", None),  # locked
        ([state(1980)] * 25 + [state(1950)] * 25, 1980, "good", None),  # by two steps of 15 MHz
        ([state(1500, "application clocks")] * 50, 1500, "good", None),
    ],
)
def test_clocks_under_load(states: list[GpuState], resting: float | None, level: str, locked: int | None) -> None:
    clock = checks(speed=speed(*states), at_rest=state(resting))["GPU clock"]
    assert clock.level == level
    assert clock.change == (LOCK.format(locked) if locked else None)


def test_a_clock_that_the_driver_does_not_show_is_left_out() -> None:
    assert "GPU clock" not in checks(speed=speed(state(None)))
    slowed = checks(speed=speed(state(None, "power brake"), state(None)))["GPU clock"]
    assert (slowed.level, slowed.finding) == ("unfit", "lowered 50% of the time by power brake, under load")
    assert "at least, median 1980, under load" in checks(settings=settings(max_sm_clock_mhz=None))["GPU clock"].finding


@pytest.mark.parametrize(
    ("rates", "level"),
    [
        ((700.0,) * 25 + (660.0,) * 25, "warning"),
        ((600.0,) * 25 + (700.0,) * 25, "warning"),
        ((700.0,) * 25 + (690.0,) * 25, "good"),
        ((700.0, 100.0) + (700.0,) * 48, "good"),  # one slow tenth of a second
        ((700.0,) * 4 + (100.0,) * 3, None),  # too few to say
        ((), None),
    ],
)
def test_a_rate_that_drifts(rates: tuple[float, ...], level: str | None) -> None:
    drift = checks(speed=speed(state(), rates=rates)).get("GPU drift")
    assert (drift and drift.level) == level


@pytest.mark.parametrize(
    ("changed", "check", "level", "change"),
    [
        ({"power_limit_watts": 350.0}, "GPU power cap", "warning", "sudo nvidia-smi --power-limit=700"),
        ({"persistence": False}, "GPU persistence", "warning", "sudo nvidia-smi --persistence-mode=1"),
        ({"mig": True, "memory_bytes": 1390 * GIB}, "GPU MIG", "note", None),
    ],
)
def test_settings(changed: dict[str, Any], check: str, level: str, change: str | None) -> None:
    finding = checks(settings=settings(**changed))[check]
    assert (finding.level, finding.change) == (level, change)
    if check == "GPU MIG":
        assert "an instance with 10% of its memory" in finding.finding


def test_an_instance_is_known_by_its_name_where_the_driver_tells_nothing_of_it() -> None:
    unknown = settings(**dict.fromkeys(GpuSettings.__dataclass_fields__))
    machine = describe_machine(threads=1, gpu="NVIDIA H200 MIG 1g.18gb")
    findings = checks(machine=machine, settings=unknown)
    assert findings["GPU MIG"].level == "note"
    assert findings["GPU"].finding == "NVIDIA H200 MIG 1g.18gb (cuda:0)"
    assert "GPU power cap" not in findings


def test_where_there_are_several_gpus_commands_name_this_one() -> None:
    findings = checks(several=True, visible=3, settings=settings(persistence=False), at_rest=state(345))
    assert findings["GPU"].finding.endswith("the first of 3 that PyTorch sees")
    assert findings["GPU"].change == "to check another: CUDA_VISIBLE_DEVICES=N vlbench doctor"
    assert findings["GPU persistence"].change == "sudo nvidia-smi --id=GPU-0b6f1c9e --persistence-mode=1"
    assert findings["GPU clock"].change == (
        "sudo nvidia-smi --id=GPU-0b6f1c9e --lock-gpu-clocks=1980,1980 "
        "(undo: sudo nvidia-smi --id=GPU-0b6f1c9e --reset-gpu-clocks)"
    )


@pytest.mark.parametrize(
    ("others", "holders", "level", "change"),
    [
        (2, ("python3 (4711)", "4712"), "unfit", "end them: python3 (4711), 4712"),
        (1, (), "unfit", "end them: nvidia-smi lists them"),
        (0, ("Xorg (900)",), "note", None),
        (0, (), "good", None),
        (None, (), None, None),
    ],
)
def test_other_processes(others: int | None, holders: tuple[str, ...], level: str | None, change: str | None) -> None:
    finding = checks(others=others, holders=holders).get("GPU processes")
    assert (finding and (finding.level, finding.change)) == ((level, change) if level else None)


def test_a_gpu_without_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    unseen = {"settings": None, "at_rest": None, "others": None, "speed": speed()}
    monkeypatch.setitem(sys.modules, "pynvml", None)
    findings = checks(**unseen)
    assert findings.keys() == {"GPU", "NVML", "GPU drift", "GPU speed"}
    assert (findings["NVML"].level, findings["NVML"].change) == ("warning", 'pip install "vlbench[gpu]"')
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())  # it is installed, but has no driver to ask
    assert "see that nvidia-smi works here" in (checks(**unseen)["NVML"].change or "")


def test_a_speed_that_could_not_be_measured_is_unfit_beside_what_is_known() -> None:
    findings = checks(speed=None, error="CUDA out of memory", others=1, holders=("trainer (12)",))
    assert findings["GPU speed"].level == "unfit"
    assert findings["GPU speed"].finding == "could not be measured: CUDA out of memory"
    assert "3 GiB are needed" in (findings["GPU speed"].change or "")
    assert findings["GPU processes"].change == "end them: trainer (12)"
    assert findings["GPU power cap"].level == "good"

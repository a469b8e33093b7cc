"""Energy by a made-up counter of NVML, and by files as Linux's powercap shows RAPL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gpu.fake_cuda import Clock, install
from tests.gpu.fake_nvml import FakeGpu, FakeNvml
from vlbench.measuring import energy
from vlbench.measuring.energy import EnergyMeter
from vlbench.measuring.nvml import Gpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(energy, "time", clock)
    return clock


def package(root: Path, number: int, microjoules: int, *, name: str | None = None, limit: int = 10**9) -> None:
    folder = root / f"sys/class/powercap/intel-rapl:{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in (
        ("name", name or f"package-{number}"),
        ("energy_uj", microjoules),
        ("max_energy_range_uj", limit),
    ):
        (folder / file).write_text(f"{value}\n")


def test_a_gpu_by_its_counter(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, clock, nvml=FakeNvml(FakeGpu(watts=350), clock=clock.monotonic))
    meter = EnergyMeter(Gpu())
    clock.sleep(5)
    meter.start()
    clock.sleep(2)
    assert meter.spent() == pytest.approx(700, rel=1e-3)


def test_a_counter_that_rises_in_steps_says_nothing_of_a_short_time(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, clock, nvml=FakeNvml(FakeGpu(), clock=clock.monotonic))
    meter = EnergyMeter(Gpu())
    clock.sleep(0.4)
    assert meter.spent() is None


@pytest.mark.parametrize("nvml", [None, FakeNvml(FakeGpu(absent=("energy",)))])
def test_a_gpu_without_a_counter(clock: Clock, monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None) -> None:
    install(monkeypatch, clock, nvml=nvml)
    meter = EnergyMeter(Gpu())
    clock.sleep(2)
    assert meter.spent() is None


def test_all_packages_of_a_processor_and_no_part_twice(clock: Clock, tmp_path: Path) -> None:
    package(tmp_path, 0, 5_000_000)
    package(tmp_path, 1, 999_000_000)  # starts again at 1,000 J
    package(tmp_path, 2, 0, name="psys")
    (tmp_path / "sys/class/powercap/intel-rapl:0:0").mkdir()  # its cores
    (tmp_path / "sys/class/powercap/intel-rapl:0:0/name").write_text("core\n")
    meter = EnergyMeter(None, tmp_path)
    clock.sleep(1)
    package(tmp_path, 0, 8_000_000)
    package(tmp_path, 1, 3_000_000)
    package(tmp_path, 2, 70_000_000, name="psys")
    assert meter.spent() == pytest.approx(3 + 4)


@pytest.mark.parametrize("damage", ["absent", "empty", "unreadable"])
def test_what_cannot_be_read_is_unknown(clock: Clock, tmp_path: Path, damage: str) -> None:
    package(tmp_path, 0, 5_000_000)
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    if damage == "absent":
        counter.unlink()
    elif damage == "empty":
        counter.write_text("")
    else:
        counter.unlink()
        counter.mkdir()
    meter = EnergyMeter(None, tmp_path)
    clock.sleep(1)
    assert meter.spent() is None


def test_a_counter_that_appears_meanwhile_is_unknown(clock: Clock, tmp_path: Path) -> None:
    meter = EnergyMeter(None, tmp_path)
    clock.sleep(1)
    package(tmp_path, 0, 5_000_000)
    assert meter.spent() is None

"""Which machines with a GPU are the same one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gpu.fake_cuda import install
from tests.gpu.fake_nvml import FakeGpu, FakeNvml
from vlbench.measuring.gpu import probe
from vlbench.measuring.machine import Machine, gpu_in_words


def machine(monkeypatch: pytest.MonkeyPatch, driver: str = "580.95.05", **gpu: Any) -> Machine:
    install(monkeypatch, nvml=FakeNvml(FakeGpu(**gpu), driver=driver))
    return probe(1)


def test_it_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = machine(monkeypatch).model_dump()
    expected = {
        "gpu": "NVIDIA FAKE 200",
        "cuda": "13.2",
        "cudnn": "9.12.0",
        "gpu_driver": "580.95.05",
        "gpu_memory_bytes": 143_771 * 2**20,
        "gpu_power_limit_watts": 700,
        "gpu_max_sm_clock_mhz": 1980,
        "gpu_max_memory_clock_mhz": 3201,
        "gpu_mig": False,
        "gpu_ecc": True,
    }
    assert {name: found[name] for name in expected} == expected
    words = "NVIDIA FAKE 200 (driver 580.95.05, 140 GiB, 700 W, 1980 MHz, memory 3201 MHz), "
    assert machine(monkeypatch).in_words().startswith(words)


def test_it_is_named_as_far_as_it_is_known() -> None:
    assert gpu_in_words({}) == gpu_in_words({"gpu": None}) == ""
    assert gpu_in_words({"gpu": "A", "gpu_driver": None, "gpu_power_limit_watts": "many"}) == "A"
    assert gpu_in_words({"gpu": "A", "gpu_power_limit_watts": 350.0, "gpu_mig": True}) == "A (350 W, MIG)"
    assert gpu_in_words({"gpu": "A", "gpu_mig": False, "gpu_ecc": False}) == "A (ECC off)"


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"driver": "590.10"}, "gpu_driver"),
        ({"power_limit_mw": 350_000}, "gpu_power_limit_watts"),
        ({"memory_bytes": 80 * 2**30}, "gpu_memory_bytes"),
        ({"max_clock": 1755}, "gpu_max_sm_clock_mhz"),
        ({"max_memory_clock": 2619}, "gpu_max_memory_clock_mhz"),
        ({"mig": 1}, "gpu_mig"),
        ({"ecc": 0}, "gpu_ecc"),
    ],
)
def test_another_driver_power_limit_or_clock_is_another_machine(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], differs: str
) -> None:
    first, second = machine(monkeypatch), machine(monkeypatch, **change)
    assert first.differing_hardware(second) == second.differing_hardware(first) == [differs]
    assert not first.same_hardware_and_software(second)
    assert machine(monkeypatch).same_hardware_and_software(first)


def test_what_one_does_not_know_does_not_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without NVML, or in results of an earlier version."""
    known = machine(monkeypatch)
    install(monkeypatch)
    unknown = probe(1)
    assert known.differing_hardware(unknown) == []
    assert unknown.model_dump().keys() >= {"cuda", "cudnn", "gpu_memory_bytes"}
    assert "gpu_driver" not in unknown.model_dump()


def test_another_gpu_is_one_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    first = machine(monkeypatch)
    second = machine(monkeypatch, driver="590.10").model_copy(update={"gpu": "NVIDIA OTHER 80"})
    assert first.differing_hardware(second) == ["gpu"]


def test_a_machine_without_a_gpu_has_no_word_of_one() -> None:
    assert not [name for name in probe(1).model_dump() if name.startswith("gpu_")] or probe(1).gpu

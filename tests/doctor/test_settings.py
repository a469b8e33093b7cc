"""Findings from trees laid out as Linux's /proc and /sys."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.doctor.findings import Finding
from vlbench.doctor.settings import settings_findings, threads_finding, throttle_count, timer_finding

CPU = "sys/devices/system/cpu"
BARE_METAL = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpufreq/boost": "0\n",
    f"{CPU}/smt/active": "0\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "proc/cpuinfo": "processor : 0\nflags\t\t: fpu vme avx2\n",
    "sys/class/power_supply/BAT0/type": "Battery\n",
    "sys/class/power_supply/BAT0/status": "Full\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
}


def findings(root: Path, files: dict[str, str]) -> dict[str, Finding]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return {found.check: found for found in settings_findings(root)}


def test_a_well_set_machine(tmp_path: Path) -> None:
    found = findings(tmp_path, BARE_METAL)
    levels = {check: one.level for check, one in found.items()}
    assert levels.pop("huge pages") == "note"
    assert levels == dict.fromkeys(("governor", "turbo", "SMT", "power", "clock source"), "good")
    assert all(one.change is None for one in found.values())


@pytest.mark.parametrize(
    ("name", "text", "check", "level", "words"),
    [
        ("cpu1/cpufreq/scaling_governor", "powersave", "governor", "warning", "cpupower frequency-set"),
        ("cpufreq/boost", "1", "turbo", "warning", "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost"),
        ("intel_pstate/no_turbo", "0", "turbo", "warning", "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no"),
        ("smt/active", "1", "SMT", "note", "physical cores"),
    ],
)
def test_a_setting_that_can_be_mended(tmp_path: Path, name: str, text: str, check: str, level: str, words: str) -> None:
    found = findings(tmp_path, BARE_METAL | {f"{CPU}/{name}": text + "\n"})[check]
    assert found.level == level
    assert words in (found.change or "")


def test_a_battery_in_use_is_unfit(tmp_path: Path) -> None:
    found = findings(tmp_path, BARE_METAL | {"sys/class/power_supply/BAT0/status": "Discharging\n"})["power"]
    assert (found.level, found.change) == ("unfit", "plug it in")


def test_a_slow_clock_source_and_a_virtual_machine(tmp_path: Path) -> None:
    files = {
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
        "proc/cpuinfo": "flags : fpu hypervisor\n",
    }
    found = findings(tmp_path, files)
    assert found["clock source"].level == "warning"
    assert found["virtual machine"].level == "note"


def test_what_is_not_visible_is_left_out(tmp_path: Path) -> None:
    found = findings(tmp_path, {})
    assert list(found) == ["governor"]
    assert found["governor"].level == "note"


def test_empty_files_are_as_good_as_none(tmp_path: Path) -> None:
    assert list(findings(tmp_path, dict.fromkeys(BARE_METAL, ""))) == ["governor"]


def test_throttling_by_heat_is_summed(tmp_path: Path) -> None:
    assert throttle_count(tmp_path) is None
    for number in range(2):
        folder = tmp_path / f"{CPU}/cpu{number}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text("3\n")
    assert throttle_count(tmp_path) == 6


@pytest.mark.parametrize(
    ("threads", "physical", "usable", "quota", "level", "change"),
    [
        (1, 1, 1, None, "good", None),
        (1, 2, 2, None, "good", None),
        (2, 2, 2, None, "warning", "--threads 1"),
        (4, 4, 8, None, "good", None),
        (6, 4, 8, None, "warning", "--threads 4"),
        (9, 4, 8, None, "unfit", "--threads 4"),
        (4, 8, 16, 2.5, "unfit", "--threads 2, or lift the quota"),
        (1, 8, 16, 0.5, "unfit", "lift the quota"),
        (2, 8, 16, 2.0, "good", None),
    ],
)
def test_threads_against_cores(
    threads: int, physical: int, usable: int, quota: float | None, level: str, change: str | None
) -> None:
    found = threads_finding(threads, physical=physical, usable=usable, quota=quota)
    assert (found.level, found.change) == (level, change)


def test_this_timer_can_time_samples() -> None:
    assert timer_finding().level == "good"

"""Which runs are compared with which, and what is marked beside a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import contended, line, noisy, write_cells, write_series

from vlbench.errors import InputError
from vlbench.regression.history.reading import read_runs
from vlbench.regression.history.series import Series, build_series, parse_threshold, select


def series_of(root: Path, *, threshold: float = 0.03) -> tuple[Series, ...]:
    return build_series(read_runs(root).runs, threshold=threshold)


SPLITS: dict[str, dict[str, Any]] = {
    "model": {"model": "uniter-base"},
    "device": {"device": "cuda"},
    "precision": {"precision": "bf16"},
    "backend": {"backend": "compiled"},
    "scope": {"scope": "model"},
    "batch": {"batch": 8},
    "L2 cache": {"l2": "cold"},
    "image size": {"image_size": [224, 224]},
    "text tokens": {"text_tokens": 16},
    "image": {"image_sha256": "0" * 64},
    "text": {"text": "Another sentence."},
    "threads": {"machine": {"threads": 1}},
    "cpu": {"machine": {"cpu": "Another CPU"}},
    "cores": {"machine": {"cores": 4}},
    "logical cores": {"machine": {"logical_cores": 8}},
    "memory": {"machine": {"ram_bytes": 32 * 2**30}},
    "gpu": {"machine": {"gpu": "H200"}},
}
MARKS: dict[str, tuple[dict[str, Any], str]] = {
    "torch": ({"machine": {"torch": "2.15.0"}}, "torch 2.14.0 -> 2.15.0"),
    "python": ({"machine": {"python": "3.13.0"}}, "python 3.12.1 -> 3.13.0"),
    "os": ({"machine": {"os": "Linux 6.18"}}, "os Linux 6.1 -> Linux 6.18"),
    "vlbench": ({"vlbench_version": "0.2.0"}, "vlbench 0.1.0 -> 0.2.0"),
    "definition": ({"spec_hash": "0123456789abcdef"}, "definition 503d9f9b -> 01234567"),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_other_settings_and_hardware_are_another_series(tmp_path: Path, kind: str) -> None:
    write_cells(tmp_path / "a", [line()])
    write_cells(tmp_path / "b", [line(day=1, **SPLITS[kind])])
    assert [len(series.runs) for series in series_of(tmp_path)] == [1, 1]


@pytest.mark.parametrize("setting", [{"gpu_driver": "590.10"}, {"gpu_power_limit_watts": 350}, {"gpu_mig": True}])
def test_another_driver_or_power_limit_of_a_gpu_is_another_series(tmp_path: Path, setting: dict[str, Any]) -> None:
    known = {"gpu": "H200", "gpu_driver": "580.95.05", "gpu_power_limit_watts": 700, "gpu_mig": False}
    write_cells(tmp_path / "a", [line(machine=known)])
    write_cells(tmp_path / "b", [line(day=1, machine=known | setting)])
    write_cells(tmp_path / "c", [line(day=2, machine=known)])
    assert sorted(len(series.runs) for series in series_of(tmp_path)) == [1, 2]


@pytest.mark.parametrize("kind", MARKS)
def test_other_software_is_marked_in_the_same_series(tmp_path: Path, kind: str) -> None:
    changes, text = MARKS[kind]
    for day in range(6):
        write_cells(tmp_path / str(day), [line(day=day, **(changes if day >= 4 else {}))])
    (series,) = series_of(tmp_path)
    assert [(event.index, event.text) for event in series.events] == [(4, text)]


def test_what_only_newer_lines_tell_of_the_machine_is_no_change(tmp_path: Path) -> None:
    governors = [None, "powersave", None, "powersave", "performance"]
    for day, governor in enumerate(governors):
        write_cells(
            tmp_path / str(day), [line(day=day, machine={"governor": governor, "timm": None if day else "1.0"})]
        )
    (series,) = series_of(tmp_path)
    assert [(event.index, event.text) for event in series.events] == [(4, "governor powersave -> performance")]


def test_memory_that_a_kernel_keeps_to_itself_splits_nothing(tmp_path: Path) -> None:
    write_cells(tmp_path, [line(), line(day=1, machine={"ram_bytes": 16 * 2**30 - 150_000_000})])
    assert len(series_of(tmp_path)) == 1


def test_definitions_side_by_side_are_series_of_their_own(tmp_path: Path) -> None:
    """As a suite has them: one model's name, its parts changed in a row of the table."""
    for day in range(3):
        lines = [
            line(day=day + place / 100, spec_hash=hash_, latency_ms=50 + 20 * place) for place, hash_ in enumerate("ab")
        ]
        write_cells(tmp_path / str(day), lines)
    first, second = series_of(tmp_path)
    assert [run.latency_ms for run in first.runs] == [50] * 3
    assert [run.latency_ms for run in second.runs] == [70] * 3
    assert not first.events
    assert (first.settings.variant, second.settings.variant) == ("a", "b")


def test_definitions_that_return_are_series_of_their_own(tmp_path: Path) -> None:
    for day, hash_ in enumerate("aabbaab"):
        write_cells(tmp_path / str(day), [line(day=day, spec_hash=hash_)])
    assert sorted(len(series.runs) for series in series_of(tmp_path)) == [3, 4]


def stepped(root: Path, *, up: int = 20, software: int | None = None, count: int = 40) -> Series:
    values = noisy(count, seed=11)
    values[up:] *= 1.08
    for day, value in enumerate(values):
        torch = {"torch": "2.15.0" if software is not None and day >= software else "2.14.0"}
        write_cells(root / f"{day:02}", [line(latency_ms=value, day=day, machine=torch)])
    (series,) = series_of(root)
    return series


def test_a_change_point_names_the_software_that_changed_with_it(tmp_path: Path) -> None:
    (shift,) = stepped(tmp_path, software=20).shifts
    assert shift.index == 20
    assert (shift.before_ms, shift.after_ms) == (pytest.approx(50, rel=0.01), pytest.approx(54, rel=0.01))
    assert shift.change == pytest.approx(0.08, abs=0.01)
    assert [event.text for event in shift.events] == ["torch 2.14.0 -> 2.15.0"]
    assert not shift.nearby


@pytest.mark.parametrize(("software", "nearby"), [(17, 0), (18, 0), (19, 1), (21, 1), (22, 0)])
def test_software_that_changed_a_run_off_is_named_as_such(tmp_path: Path, software: int, nearby: int) -> None:
    (shift,) = stepped(tmp_path, software=software).shifts
    assert not shift.events
    assert len(shift.nearby) == nearby


def test_contended_runs_move_no_change_point_and_keep_their_place(tmp_path: Path) -> None:
    values = noisy(40, seed=12)
    values[25:] *= 1.08
    for day, value in enumerate(values):
        usual = line(latency_ms=value, day=day, machine={"torch": "2.15.0" if day >= 24 else "2.14.0"})
        disturbed = contended(
            line(latency_ms=3 * value, day=day, machine={"torch": "2.15.0" if day >= 24 else "2.14.0"})
        )
        write_cells(tmp_path / f"{day:02}", [disturbed if day in (3, 8, 9, 23, 24) else usual])
    (series,) = series_of(tmp_path)
    assert (len(series.runs), len(series.judged), len(series.timed)) == (40, 35, 40)
    (shift,) = series.shifts
    assert shift.index == 25
    assert [event.index for event in shift.events] == [24]  # with the contended run just before
    for day in range(40):
        write_cells(tmp_path / f"{day:02}", [contended(line(latency_ms=values[day], day=day))])
    (series,) = series_of(tmp_path)
    assert not series.shifts


def test_failed_runs_are_gaps(tmp_path: Path) -> None:
    values: list[float | None] = list(noisy(40, seed=13))
    values[20:] = [value * 1.08 for value in values[20:] if value]
    values[5] = values[20] = values[21] = None
    (series,) = series_of(write_series(tmp_path, {"a": values}))
    assert (len(series.runs), len(series.judged)) == (40, 37)
    assert [shift.index for shift in series.shifts] == [22]


def test_few_runs_have_no_change_point(tmp_path: Path) -> None:
    series = stepped(tmp_path, up=4, count=8)
    assert not series.shifts
    assert series.fewest > len(series.judged)


def test_many_series_share_one_rate_of_false_alarms(tmp_path: Path) -> None:
    """100 series of noise far above the threshold: each of them alone at 1% would make one of them cry."""
    generator = np.random.default_rng(14)
    alarms = 0
    for trial in range(5):
        latencies = {f"m{place}": 50 * np.exp(generator.normal(0, 0.2, 24)) for place in range(40)}
        lines = [
            line(model, latency_ms=v, day=day) for model, values in latencies.items() for day, v in enumerate(values)
        ]
        write_cells(tmp_path / str(trial), lines)
        found = series_of(tmp_path / str(trial))
        alarms += any(series.shifts or series.drift for series in found)
        assert found[0].fewest > 16
    assert alarms <= 1


def test_series_too_short_to_be_tested_do_not_count(tmp_path: Path) -> None:
    stepped(tmp_path / "long", up=6, count=12)
    for place in range(50):
        write_cells(tmp_path / f"short-{place}", [line(f"m{place}", day=place)])
    (series,) = [series for series in series_of(tmp_path) if len(series.runs) > 1]
    assert len(series.shifts) == 1


def test_select(tmp_path: Path) -> None:
    write_cells(tmp_path, [line("vilt-b32"), line("vit-b16", device="cuda"), line("clip-rn50")])
    runs = read_runs(tmp_path).runs

    def names(**wanted: str) -> list[str]:
        return sorted(run.model for run in select(runs, **wanted))

    assert names(models="vi*") == ["vilt-b32", "vit-b16"]
    assert names(models="clip-*, vit-b16") == ["clip-rn50", "vit-b16"]
    assert names(device="cuda") == ["vit-b16"]
    assert names(models="vilt*", device="cuda") == []
    assert len(names()) == 3


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), (".5%", 0.005), ("0", 0), ("12.5 percent", None)]
)
def test_threshold(text: str, share: float | None) -> None:
    if share is not None:
        assert parse_threshold(text) == pytest.approx(share)
    else:
        with pytest.raises(InputError):
            parse_threshold(text)


@pytest.mark.parametrize(
    ("text", "works"),
    [("5", "5%"), ("100%", "5%"), ("-3%", "5%"), ("nan", "5%"), ("", "5%"), ("1e-2", "5%"), ("3", "3%")],
)
def test_a_threshold_that_is_none(text: str, works: str) -> None:
    with pytest.raises(InputError, match=f"{works} or 0.05 works"):
        parse_threshold(text)

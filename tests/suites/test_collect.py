"""What is gathered for suites: which budget a cell gets, and that each cell is measured once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlbench.measure.machine import describe_machine
from vlbench.runner import benchmark
from vlbench.runner.cells import blank_result
from vlbench.runner.plan import RunSettings
from vlbench.runner.records import Result
from vlbench.suites import collect as module
from vlbench.suites.collect import SuiteRequest, collect
from vlbench.suites.reader import read_suite, resolve_suites
from vlbench.suites.schema import CATEGORIES


@pytest.fixture
def budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gathers suites without measuring; gives the budget of each model that would have been."""

    def gather(names: list[str], **changes: object) -> list[tuple[str, float]]:
        asked: list[tuple[str, float]] = []
        machine = describe_machine(threads=1, gpu=None)

        def measure(cells: list, *_: object) -> Iterator[Result]:
            for cell in cells:
                asked.append((cell.spec.name, cell.budget_seconds))
                yield blank_result(cell, machine, status="failed", measured_at="now")

        monkeypatch.setattr(benchmark, "measure_rounds", measure)
        monkeypatch.setattr(benchmark, "probe_machine", lambda threads, worker: machine)
        monkeypatch.setattr(benchmark, "count_specs", lambda requests, *_: ["not counted"] * len(requests))
        request = SuiteRequest(
            categories=CATEGORIES,
            quick=False,
            settings=RunSettings(device="cpu", threads=1),
            budget_seconds=None,
            folder=tmp_path,
        )
        collect(resolve_suites(names), replace(request, **changes))  # type: ignore[arg-type]
        return asked

    return gather


def test_a_row_has_its_own_budget_or_the_suites(budgets: Any) -> None:
    assert dict(budgets(["vilt-figure1"])) == {"uniter-base-table6": 300, "pixelbert-r50": 45, "vilt-b32": 45}


@pytest.mark.parametrize("names", [["vilt-figure1", "vilt-table6"], ["vilt-table6", "vilt-figure1"]])
def test_what_two_suites_want_is_measured_once_for_the_longer_budget(budgets: Any, names: list[str]) -> None:
    asked = budgets(names)
    assert len(asked) == len(dict(asked)) == 12  # eleven rows, of which two are in the figure, and its Pixel-BERT
    assert dict(asked)["uniter-base-table6"] == 300
    assert dict(asked)["vilbert-table6"] == 45


def test_the_command_lines_budget_stands_above_all(budgets: Any) -> None:
    assert set(dict(budgets(["vilt-figure1"], budget_seconds=7)).values()) == {7}


def test_quick_has_its_own_budget(budgets: Any) -> None:
    assert set(dict(budgets(["vilt-figure1"], quick=True)).values()) == {module.BUDGET_SECONDS}


def test_the_file_of_figure_1_says_so() -> None:
    (uniter, *_) = read_suite(resolve_suites(["vilt-figure1"])[0].path).suite.rows
    assert uniter.budget_seconds == 300

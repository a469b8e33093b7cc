"""What is gathered for suites: which budget a cell gets, and that each cell is measured once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import write_tiny, write_yaml
from tests.suites.test_suites import SMALL
from vlbench.errors import InputError
from vlbench.measuring.machine import describe_machine
from vlbench.runner import benchmark
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.nms_records import SuppressionCell, suppression_result
from vlbench.runner.plan import RunSettings
from vlbench.suites import collect as module
from vlbench.suites.collect import SuiteRequest, collect
from vlbench.suites.reader import read_suite, resolve_suites
from vlbench.suites.schema import CATEGORIES


@pytest.fixture
def cells_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gathers suites without measuring; gives the cells that would have been measured."""

    def gather(names: list[str], **changes: object) -> list[Cell]:
        gathered: list[Cell] = []
        machine = describe_machine(threads=1, gpu=None)

        def measure(cells: list, *_: object) -> Iterator[Any]:
            for cell in cells:
                gathered.append(cell)
                blank = suppression_result if isinstance(cell, SuppressionCell) else blank_result
                yield blank(cell, machine, status="failed", measured_at="now")

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
        return gathered

    return gather


def budgets(cells: list[Cell]) -> dict[str, float]:
    return {cell.spec.name: cell.budget_seconds for cell in cells}


def test_a_row_has_its_own_budget_or_the_suites(cells_of: Any) -> None:
    assert budgets(cells_of(["vilt-figure1"])) == {"uniter-base-table6": 300, "pixelbert-r50": 45, "vilt-b32": 45}


@pytest.mark.parametrize("names", [["vilt-figure1", "vilt-table6"], ["vilt-table6", "vilt-figure1"]])
def test_what_two_suites_want_is_measured_once_for_the_longer_budget(cells_of: Any, names: list[str]) -> None:
    cells = cells_of(names)
    assert len(cells) == len(budgets(cells)) == 12  # eleven rows, of which two are in the figure, and its Pixel-BERT
    assert budgets(cells)["uniter-base-table6"] == 300
    assert budgets(cells)["vilbert-table6"] == 45


def test_the_command_lines_budget_stands_above_all(cells_of: Any) -> None:
    assert set(budgets(cells_of(["vilt-figure1"], budget_seconds=7)).values()) == {7}


def test_quick_has_its_own_budget(cells_of: Any) -> None:
    assert set(budgets(cells_of(["vilt-figure1"], quick=True)).values()) == {module.BUDGET_SECONDS}


@pytest.mark.parametrize(
    ("requested", "quick", "restarts"), [(None, False, None), (None, True, 1), (7, False, 7), (7, True, 7)]
)
def test_every_cell_has_the_restarts_of_the_command_line(
    cells_of: Any, requested: int | None, quick: bool, restarts: int | None
) -> None:
    settings = RunSettings(device="cpu", threads=1, restarts=requested)
    for suite in ("vilt-figure1", "nms-style"):
        assert {cell.restarts for cell in cells_of([suite], quick=quick, settings=settings)} == {restarts}


def test_a_row_is_measured_through_its_own_backend_or_the_command_lines(tmp_path: Path, cells_of: Any) -> None:
    model = str(write_tiny(tmp_path))
    rows = [
        {"label": "the command line's", "model": model},
        {"label": "its own", "model": model, "backend": "openvino", "precision": "fp32"},
        {"label": "whole", "model": model, "scope": "model"},
        {"label": "eager", "model": model, "backend": "eager", "precision": "fp32", "scope": "model"},
    ]
    suite = write_yaml(tmp_path / "small.yaml", SMALL | {"rows": rows, "claims": []})
    settings = RunSettings(device="cpu", threads=1, backend="onnxruntime", precision="int8")
    assert [(cell.backend, cell.precision, cell.scope) for cell in cells_of([str(suite)], settings=settings)] == [
        ("onnxruntime", "int8", "stages"),
        ("openvino", "fp32", "stages"),
        ("onnxruntime", "int8", "model"),
        ("eager", "fp32", "stages"),
    ]


def test_a_pair_that_no_backend_computes_is_refused_before_anything_is_measured(cells_of: Any) -> None:
    settings = RunSettings(device="cpu", threads=1, precision="int8-static")
    with pytest.raises(InputError, match=r"^--precision int8-static: eager does not compute in it on cpu;"):
        cells_of(["vilt-figure1"], settings=settings)


def test_the_file_of_figure_1_says_so() -> None:
    (uniter, *_) = read_suite(resolve_suites(["vilt-figure1"])[0].path).suite.rows
    assert uniter.budget_seconds == 300

"""The one measuring call: what it gives, what it keeps, and that nothing else starts a worker."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports import modules_of
from tests.paths import ROOT
from tests.runner.made_up import MACHINE, SPEC, fake_worker
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.runner import benchmark as module
from vlbench.runner.benchmark import BenchmarkSession, benchmark
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.reader import read_results, read_unsampled, with_samples
from vlbench.runner.records import Result, UnsampledRestart
from vlbench.runner.worker_client import Worker

EXAMPLE = read_example(None, None)
SETTINGS = RunSettings(threads=1, device="cpu", restarts=2)
OTHER = SPEC.model_copy(update={"name": "other", "seed": 1})


@pytest.fixture(autouse=True)
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """The workers that are started, none of which computes anything."""
    started: list[Worker] = []

    def start(threads: int, **_: object) -> Worker:
        started.append(fake_worker(tmp_path))
        return started[-1]

    monkeypatch.setattr(module, "Worker", start)
    return started


def test_results_are_in_the_order_of_the_models_though_some_were_kept(
    tmp_path: Path, workers: list[Worker], capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "out"
    first = benchmark([OTHER], EXAMPLE, SETTINGS, folder=folder)
    reported: list[str] = []
    run = benchmark([SPEC, OTHER], EXAMPLE, SETTINGS, folder=folder, report_kept=reported.extend)
    assert [result.model for result in run.results] == [SPEC.name, "other"]
    assert run.results[1] == first.results[0]
    assert run.kept == reported == ["other"]
    assert (run.cells, run.interrupted, run.machine) == (2, False, MACHINE)
    assert run.stored == read_unsampled(folder) == [first.results[0], run.results[0]]
    assert len(workers) == 2
    assert all(worker.process is None for worker in workers), "they are ended"
    assert "no peaks here" in capsys.readouterr().err


def test_samples_are_in_the_folder_and_not_in_memory(tmp_path: Path, workers: list[Worker]) -> None:
    folder = tmp_path / "out"
    benchmark([OTHER], EXAMPLE, SETTINGS, folder=folder)
    run = benchmark([SPEC, OTHER], EXAMPLE, SETTINGS, folder=folder)
    assert len(workers) == 2
    assert {type(restart) for result in run.results for restart in result.restarts} == {UnsampledRestart}
    sampled = with_samples(run.results, folder)
    assert [result.model for result in sampled] == [SPEC.name, "other"]
    assert {result.model: result for result in read_results(folder)} == {result.model: result for result in sampled}
    assert [len(restart.latency_ms) for result in sampled for restart in result.restarts] == [
        len(restart["latency_ms"])
        for name in (SPEC.name, "other")
        for line in map(json.loads, (folder / "cells.jsonl").read_text().splitlines())
        if line["model"] == name
        for restart in line["restarts"]
    ]


def test_without_a_folder_nothing_is_kept_or_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    run = benchmark([SPEC], EXAMPLE, SETTINGS)
    assert [len(result.restarts) for result in run.results] == [2]
    assert run.kept == []
    assert [path.name for path in tmp_path.iterdir()] == ["begun"], "which the fake worker writes"
    assert capsys.readouterr() == ("", "")


def test_equal_cells_are_measured_once_for_the_longest_budget() -> None:
    with BenchmarkSession(1) as session:
        cells = [
            expand([SPEC], EXAMPLE, RunSettings(threads=1, device="cpu", restarts=1, budget_seconds=seconds), MACHINE)
            for seconds in (5, 7, 6)
        ]
        run = session.measure([cell for (cell,) in cells], Result, None)
    assert len(run.results) == 3
    assert [result.budget_seconds for result in run.stored] == [7]


def test_ctrl_c_leaves_what_is_finished(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measure_rounds = module.measure_rounds

    def interrupted(*arguments: object) -> Iterator[Result]:
        yield next(measure_rounds(*arguments))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure_rounds", interrupted)
    run = benchmark([SPEC, OTHER], EXAMPLE, SETTINGS, folder=tmp_path / "out")
    assert run.interrupted
    assert len(run.results) == 1
    assert run.cells == 2


def test_a_setting_that_fits_no_machine_is_bad_input() -> None:
    with pytest.raises(InputError, match="PyTorch sees no GPU here"):
        benchmark([SPEC], EXAMPLE, RunSettings(threads=1, device="cuda"))


def test_nothing_else_starts_a_worker() -> None:
    """Neither the class is called nor the program started anywhere else in vlbench."""
    calls = {
        name
        for name, path in modules_of(ROOT / "vlbench").items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and "Worker" in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))
    }
    assert calls == {"runner.benchmark"}

"""`peaks.jsonl`: written once for a machine and a setting, never at the cost of a result, and refused where damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import vlbench
from tests.helpers import write_tiny
from tests.runner.conftest import Run
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner import benchmark
from vlbench.runner.benchmark import BenchmarkRun
from vlbench.runner.cells import blank_result
from vlbench.runner.peaks import PEAKS, Peaks, Setting, keep_peaks, read_peaks, settings_without_peaks
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Result
from vlbench.runner.worker_client import Worker
from vlbench.runner.workload import measure_peaks
from vlbench.specs.catalog import catalog

MACHINE = describe_machine(threads=1, gpu=None)
SETTING = Setting("cpu", "fp32", 1)
PEAKS_HERE = Peaks(
    device="cpu",
    precision="fp32",
    threads=1,
    gflops_per_second=100.0,
    gigabytes_per_second=20.0,
    machine=MACHINE,
    measured_at="now",
    vlbench_version="0",
)


def a_result(status: str = "ok", **settings: Any) -> Result:
    wanted = RunSettings(**{"device": "cpu", "threads": 1} | settings)
    (cell,) = expand([catalog()["vit-b16"].tiny()], read_example(None, None), wanted, MACHINE)
    machine = MACHINE.model_copy(update={"threads": cell.threads})
    return blank_result(cell, machine, status=status, measured_at="now")


def test_a_run_leaves_the_peaks_of_its_setting(tiny_run: Run) -> None:
    (peaks,) = read_peaks(tiny_run.folder)
    assert peaks.setting == ("cpu", "fp32", 1)
    line = tiny_run.lines[0]
    assert json.loads((tiny_run.folder / PEAKS).read_text())["machine"] == line["machine"]
    assert peaks.gflops_per_second > 0
    for measured in tiny_run.lines:
        reached = measured["flops"] / measured["latency_ms"]["median"] / 1e6
        assert 0 < reached < 3 * peaks.gflops_per_second, (
            "small products are quicker than one core's peak by no such factor"
        )


@pytest.mark.slow
def test_peaks_are_measured_once_for_a_setting(tmp_path: Path) -> None:
    first, second = write_tiny(tmp_path, "vit-b16"), write_tiny(tmp_path, "vilt-b32")
    settings = ("--device", "cpu", "--budget", 0.1, "--restarts", 1, "--out", tmp_path / "out")
    for models in (first, second):
        assert vlbench("run", "--models", models, "--threads", 1, *settings).returncode == 0
    assert [one.setting for one in read_peaks(tmp_path / "out")] == [SETTING]
    assert vlbench("run", "--models", first, "--threads", 2, "--precision", "bf16", *settings).returncode == 0
    assert [one.setting for one in read_peaks(tmp_path / "out")] == [SETTING, Setting("cpu", "bf16", 2)]


def test_which_settings_lack_peaks() -> None:
    elsewhere = MACHINE.model_copy(update={"cpu": "another"})
    results = [a_result(), a_result(), a_result("failed", threads=3), a_result(threads=2, precision="bf16")]
    assert settings_without_peaks(results, [], MACHINE) == [SETTING, Setting("cpu", "bf16", 2)]
    assert settings_without_peaks(results, [PEAKS_HERE], MACHINE) == [Setting("cpu", "bf16", 2)]
    theirs = PEAKS_HERE.model_copy(update={"machine": elsewhere})
    assert settings_without_peaks(results[:1], [theirs], MACHINE) == [SETTING]
    assert settings_without_peaks(results, [], elsewhere) == []


def test_peaks_are_measured_as_cells_are() -> None:
    found = measure_peaks(SETTING)
    assert found.setting == SETTING
    assert found.machine.same_hardware_and_software(MACHINE)
    assert Peaks.model_validate_json(found.to_line()) == found


FAILING = {
    "fails": ('{"failed": "out of memory: no more"}', "out of memory: no more"),
    "refuses": ('{"refused": "not here"}', "not here"),
    "dies": ('{"phase": "begun"}', "without a result"),
    "answers nonsense": ('{"peaks": {"gflops_per_second": -1}}', "validation error"),
}


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING)
def test_peaks_that_cannot_be_measured_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture, answer: tuple[str, str]
) -> None:
    script = f"import sys; sys.stdin.readline(); print({answer[0]!r}); print('{{\"ended\": 1}}')"
    with Worker(1, command=[sys.executable, "-u", "-c", script]) as worker:
        keep_peaks(SETTING, tmp_path, worker)
    said = capsys.readouterr().err
    assert said.startswith("vlbench: the machine's peaks could not be measured")
    assert answer[1] in said
    assert said.count("\n") == 1
    assert read_peaks(tmp_path) == []


def test_a_run_whose_peaks_fail_keeps_its_results_and_passes(tmp_path: Path) -> None:
    """A folder in the file's place cannot be written, whoever tries."""
    out = tmp_path / "out"
    (out / PEAKS).mkdir(parents=True)
    model = write_tiny(tmp_path, "vit-b16")
    process = vlbench("run", "--models", model, "--device", "cpu", "--budget", 0.1, "--restarts", 1, "--out", out)
    assert process.returncode == 0, process.stderr
    assert "the machine's peaks could not be measured" in process.stderr
    assert "Traceback" not in process.stderr
    assert json.loads((out / "cells.jsonl").read_text())["status"] == "ok"
    assert (out / "table.csv").is_file()


DAMAGED = {
    "not JSON": ('{"schema": 5,', "line 1: not JSON"),
    "schema": (json.dumps({"schema": 99}), "line 1: schema 99"),
    "key": (PEAKS_HERE.to_line().replace('"gflops_per_second"', '"flops"'), "line 1: gflops_per_second"),
    "value": (PEAKS_HERE.to_line().replace("100.0", "-1"), "line 1: gflops_per_second"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_refused(tmp_path: Path, damage: tuple[str, str]) -> None:
    (tmp_path / PEAKS).write_text(f"{damage[0]}\n{PEAKS_HERE.to_line()}\n")
    with pytest.raises(InputError, match=f"peaks.jsonl {damage[1]}"):
        read_peaks(tmp_path)


def test_a_run_into_a_folder_with_damaged_peaks_is_one_line_before_anything_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / PEAKS).write_text(f"[1]\n{PEAKS_HERE.to_line()}\n")
    process = vlbench("run", "--models", write_tiny(tmp_path, "vit-b16"), "--device", "cpu", "--out", out)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "peaks.jsonl line 1: schema None" in process.stderr
    assert (out / "cells.jsonl").read_text() == ""


def test_a_last_line_that_was_cut_off_is_left_out_and_the_next_is_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / PEAKS).write_text(PEAKS_HERE.to_line() + "\n" + PEAKS_HERE.to_line()[:30])
    assert read_peaks(tmp_path) == [PEAKS_HERE]
    assert "line 2: cut off" in capsys.readouterr().err
    answer = json.dumps({"peaks": json.loads(PEAKS_HERE.to_line())})
    script = f"import sys; sys.stdin.readline(); print({answer!r}); print('{{\"ended\": 0}}')"
    with Worker(1, command=[sys.executable, "-u", "-c", script]) as worker:
        keep_peaks(SETTING, tmp_path, worker)
    assert read_peaks(tmp_path) == [PEAKS_HERE, PEAKS_HERE]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("moment", ["before", "meanwhile"])
def test_an_interrupted_run_asks_for_no_peaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def measure(*_: Any) -> Any:
        yield a_result()
        if moment == "before":
            raise KeyboardInterrupt

    asked: list[Setting] = []

    def interrupted(setting: Setting, folder: Path, worker: Worker) -> None:
        asked.append(setting)
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "measure_rounds", measure)
    monkeypatch.setattr(benchmark, "keep_peaks", interrupted)
    run = measured_here(tmp_path, monkeypatch)
    assert (run.results, run.interrupted) == ([a_result()], True)
    assert asked == ([] if moment == "before" else [SETTING])


def test_no_peaks_without_a_measured_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_rounds", lambda *_: iter([a_result("failed")]))
    run = measured_here(tmp_path, monkeypatch)
    assert (run.results, run.interrupted) == ([a_result("failed")], False)
    assert not (tmp_path / PEAKS).exists()


def measured_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> BenchmarkRun[Result]:
    """The cell of `a_result`, on this machine, which no worker is asked for."""
    monkeypatch.setattr(benchmark, "probe_machine", lambda threads, worker: MACHINE)
    settings = RunSettings(device="cpu", threads=1)
    return benchmark.benchmark([catalog()["vit-b16"].tiny()], read_example(None, None), settings, folder=folder)

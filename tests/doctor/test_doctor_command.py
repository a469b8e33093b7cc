"""`vlbench doctor` with the measuring replaced, and once for real."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.command_line import vlbench
from vlbench.cli.main import app
from vlbench.doctor import diagnose as diagnosis_of
from vlbench.doctor.findings import Diagnosis, Finding
from vlbench.inputs import read_example
from vlbench.measuring.machine import Machine, describe_machine
from vlbench.runner import benchmark
from vlbench.runner.cells import blank_result
from vlbench.runner.peaks import read_peaks
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Result
from vlbench.runner.store import Store
from vlbench.specs.catalog import catalog


def diagnosis(*findings: Finding) -> Diagnosis:
    return Diagnosis(
        fit=all(found.level != "unfit" for found in findings),
        threads=1,
        machine=describe_machine(threads=1, gpu=None),
        findings=findings,
        speed=None,
        seconds=3.0,
    )


GOOD = Finding(check="governor", level="good", finding="performance")
SLOW = Finding(check="turbo", level="warning", finding="on", change="turn it off")
UNFIT = Finding(check="power", level="unfit", finding="on battery", change="plug it in")


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ([GOOD], 0, "fit to measure on (3 s)"),
        ([GOOD, SLOW], 0, "fit to measure on, with 1 warning (3 s)"),
        ([GOOD, SLOW, UNFIT], 1, "not fit to measure on: see 1 above (3 s)"),
    ],
)
def test_the_exit_code_and_the_last_line_say_whether_it_is_fit(
    monkeypatch: pytest.MonkeyPatch, findings: list[Finding], code: int, last: str
) -> None:
    monkeypatch.setattr(diagnosis_of, "diagnose", lambda threads: diagnosis(*findings))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    lines = result.stdout.rstrip().splitlines()
    assert lines[-1].strip() == last
    order = [line.split()[0] for line in lines[2:-1]]
    assert order == [found.level for found in reversed(findings)]  # the worst first
    assert all(found.change in result.stdout for found in findings if found.change)


def test_json_is_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = diagnosis(GOOD, UNFIT)
    monkeypatch.setattr(diagnosis_of, "diagnose", lambda threads: expected)
    result = CliRunner().invoke(app, ["doctor", "--format", "json"])
    assert result.exit_code == 1
    assert Diagnosis.model_validate_json(result.stdout) == expected


@pytest.mark.parametrize("words", [["--threads", "0"], ["--threads", "two"], ["--format", "xml"], ["extra"]])
def test_bad_input_is_refused(words: list[str]) -> None:
    assert CliRunner().invoke(app, ["doctor", *words]).exit_code == 2


def results_of(folder: Path, machine: Machine) -> list[tuple[str, str, int]]:
    """Adds what was measured under two settings; gives them."""
    settings = [RunSettings(device="cpu", threads=1), RunSettings(device="cpu", threads=2, precision="bf16")]
    with closing(Store(folder, Result)) as store:
        for one in settings:
            (cell,) = expand([catalog()["vit-b16"].tiny()], read_example(None, None), one, machine)
            here = machine.model_copy(update={"threads": one.threads})
            store.add(blank_result(cell, here, status="ok", measured_at="now"))
    return [("cpu", one.precision, one.threads) for one in settings]


@pytest.mark.slow
def test_peaks_are_added_to_results_of_this_machine_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(diagnosis_of, "diagnose", lambda threads: diagnosis(GOOD))
    settings = results_of(tmp_path, describe_machine(threads=1, gpu=None))
    monkeypatch.setattr(benchmark, "probe_this_machine", lambda threads: describe_machine(threads=threads, gpu=None))
    for _ in range(2):
        assert vlbench("doctor", "--out", tmp_path).returncode == 0
        assert [one.setting for one in read_peaks(tmp_path)] == settings


def test_peaks_are_not_added_to_results_of_another_machine(tmp_path: Path) -> None:
    results_of(tmp_path, describe_machine(threads=1, gpu=None).model_copy(update={"torch": "1.0"}))
    done = vlbench("doctor", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "nothing here was measured on this machine" in done.stderr
    assert read_peaks(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_this_machine_is_diagnosed_without_importing_torch_here() -> None:
    code = (
        "import sys\nfrom vlbench.cli.main import app\n"
        "code = app(['doctor', '--threads', '1', '--format', 'json'], standalone_mode=False)\n"
        "sys.exit(9 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["fit"] else 1), done.stderr
    assert "governor" in done.stdout
    speed = found["speed"]
    assert speed["gemm_gflops_per_second_one_thread"] > 0.5
    assert speed["copy_gigabytes_per_second"] > 0.1
    assert len(speed["processes"]) == 6
    assert all(len(process["layer_ms"]) >= 3 for process in speed["processes"])
    assert {"other processes", "threads", "timer", "steady clock", "speed states", "peaks"} <= {
        one["check"] for one in found["findings"]
    }
    assert found["seconds"] < 60  # 20 where nothing else runs

"""What the command prints, draws and refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from synthetic import contended, line, noisy, write_cells, write_series

from vlbench.cli import main

ANOTHER = {"gpu": "Synthetic GPU", "cpu": "Server CPU", "cores": 32}


def vlbench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Exit code, output and errors of the command line."""
    monkeypatch.setattr(sys, "argv", ["vlbench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main.main()
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return lambda *arguments: vlbench(monkeypatch, capsys, "history", *arguments)


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 nights, two machines: a model 8% slower with a new torch, one unchanged with a contended and a failed run."""
    root = tmp_path_factory.mktemp("nightly")
    stepped, even = noisy(30, seed=1), noisy(30, level=1300, seed=2)
    stepped[18:] *= 1.08
    for day in range(30):
        machine = {"torch": "2.15.0" if day >= 18 else "2.14.0"}
        same = line("pixelbert-r50", latency_ms=None if day == 7 else even[day], day=day, machine=machine)
        lines = [
            line("vilt-b32", latency_ms=stepped[day], day=day, machine=machine),
            contended(same) if day == 9 else same,
            line("vilt-b32", latency_ms=even[day] / 100, device="cuda", day=day, machine=ANOTHER),
        ]
        write_cells(root / f"{day:02}-{'abc'[day % 3]}{day}f", lines)
    return root


def test_the_table_tells_series_and_change_points(run, nightly: Path) -> None:
    code, out, err = run(nightly)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [row.split()[0] for row in lines[1:4]] == ["pixelbert-r50", "vilt-b32", "vilt-b32"]
    assert "30 (1 contended, 1 without latency)" in lines[1]
    assert lines[1].rstrip().endswith("none")
    assert re.search(r"\+[78]\.\d%$", lines[2].rstrip())
    (change,) = [row for row in lines if "torch 2.14.0 -> 2.15.0" in row]
    assert "2026-01-23 02:00" in change
    assert "18-a18f" in change
    assert "19 of 30" in change
    assert "Machine B: Synthetic GPU, Server CPU, 32 cores" in out
    assert "failed: out of memory" in out


def test_markdown_has_the_same_tables(run, nightly: Path) -> None:
    code, out, _ = run(nightly, "--format", "markdown", "--model", "vilt*")
    assert code == 0
    tables = [block.splitlines() for block in out.split("\n\n")[:2]]
    for table in tables:
        assert len({row.count("|") for row in table}) == 1
    assert len(tables[0]) == 4
    assert len(tables[1]) == 3
    assert "pixelbert" not in out


def test_json_has_every_run_without_samples(run, nightly: Path) -> None:
    code, out, _ = run(nightly, "--format", "json", "--threshold", "5%")
    assert code == 0
    content = json.loads(out)
    assert (content["schema"], content["threshold"], content["significance"]) == (1, 0.05, 0.01)
    by_model = {(series["model"], series["settings"]["device"]): series for series in content["series"]}
    changed = by_model["vilt-b32", "cpu"]
    (point,) = changed["change_points"]
    assert (point["index"], point["folder"]) == (18, "18-a18f")
    levels = [[run["latency_ms"] for run in changed["runs"][part]] for part in (slice(18), slice(18, None))]
    assert (point["before_ms"], point["after_ms"]) == tuple(map(pytest.approx, map(np.median, levels)))
    assert point["events"] == [{"index": 18, "text": "torch 2.14.0 -> 2.15.0"}]
    same = by_model["pixelbert-r50", "cpu"]
    assert len(same["runs"]) == 30
    assert same["judged_runs"] == 28
    assert (same["runs"][7]["status"], same["runs"][7]["error"]) == ("failed", "out of memory")
    assert same["runs"][9]["verdict"] == "contended"
    assert "samples" not in out


def test_a_higher_threshold_tells_less(run, nightly: Path) -> None:
    assert "Change points\n" in run(nightly, "--threshold", "7%")[1]
    assert "Change points\n" not in run(nightly, "--threshold", "0.15")[1]


def test_too_few_runs_are_said_to_be(run, tmp_path: Path) -> None:
    _, out, _ = run(write_series(tmp_path, {"a": [50, 50, 50, 80, 80]}))
    assert "too few runs (5 of 10)" in out


def test_a_drift_is_said_to_be_one(run, tmp_path: Path) -> None:
    values = noisy(40, seed=3) * 1.003 ** np.arange(40)
    code, out, _ = run(write_series(tmp_path, {"a": values}), "--figure", tmp_path / "drift.svg")
    assert code == 0
    assert "drift +1" in out
    assert (tmp_path / "drift.svg").is_file()


def test_names_with_signs_of_markup_are_printed_as_they_are(run, tmp_path: Path) -> None:
    values = noisy(40, seed=1)
    values[20:] *= 1.1
    for day, value in enumerate(values):
        write_cells(tmp_path / f"[bold]{day:02}|x", [line(latency_ms=value, day=day)])
    assert "[bold]20|x" in run(tmp_path)[1]
    assert "\\[bold\\]20\\|x" in run(tmp_path, "--format", "markdown")[1]


def test_damage_is_told_on_standard_error_and_the_rest_is_shown(run, nightly: Path, tmp_path: Path) -> None:
    root = shutil.copytree(nightly, tmp_path / "nightly")
    file = next(root.glob("05-*")) / "cells.jsonl"
    file.write_text(file.read_text()[:-200])
    code, out, err = run(root)
    assert code == 0
    assert err == f"vlbench: {file} line 3: no whole result; cut off, damaged or not of vlbench; left out\n"
    assert "torch 2.14.0 -> 2.15.0" in out


def test_a_store_keeps_the_history(run, nightly: Path, tmp_path: Path) -> None:
    store = tmp_path / "history.duckdb"
    code, first, err = run(nightly, "--store", store)
    assert (code, err) == (0, f"{store}: 90 results added, 90 in all\n")
    assert run(store)[1] == first
    one = next(nightly.glob("03-*"))
    code, out, err = run(one, "--store", store)
    assert (code, out, err) == (0, first, f"{store}: 0 results added, 90 in all\n")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_figure(run, nightly: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"history.{kind}"
    assert run(nightly, "--figure", path)[0] == 0
    if kind == "png":
        picture = matplotlib.image.imread(path)
        assert picture.shape[1] > 1000
        assert np.ptp(picture[..., :3]) > 0.9
    else:
        first = path.read_text()
        assert run(nightly, "--figure", path)[0] == 0
        assert path.read_text() == first  # the same history gives the same file


def test_one_run_can_be_drawn(run, tmp_path: Path) -> None:
    write_cells(tmp_path / "a", [line()])
    assert run(tmp_path / "a", "--figure", tmp_path / "one.png")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threshold", "5"], "5% or 0.05 works"),
        (["--figure", "history.pdf"], "ends in neither .png nor .svg"),
        (["--figure", "absent/history.png"], "there is no folder absent"),
        (["--model", "vit*"], "--model vit*: no such results; there are pixelbert-r50, vilt-b32 on cpu, cuda"),
        (["--model", "pix*", "--device", "cuda"], "--model pix* --device cuda: no such results"),
        (["--device", "tpu"], "--device"),
        (["--format", "csv"], "--format"),
        (["--store", "absent/h.duckdb"], "--store absent/h.duckdb"),
    ],
)
def test_bad_input_is_one_line(
    run, nightly: Path, tmp_path: Path, monkeypatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(nightly, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not list(tmp_path.iterdir())


def test_nothing_to_draw_is_one_line(run, tmp_path: Path) -> None:
    write_cells(tmp_path / "a", [line(latency_ms=None)])
    code, out, err = run(tmp_path / "a", "--figure", tmp_path / "none.png")
    assert (code, err.count("\n")) == (2, 1)
    assert "no run has a latency to draw" in err
    assert "failed: out of memory" in out


def test_neither_torch_nor_matplotlib_is_imported_for_a_table(nightly: Path) -> None:
    code = "import sys; from vlbench.cli.main import app; app(sys.argv[1:], standalone_mode=False); "
    code += "sys.exit(sum(name in sys.modules for name in ('torch', 'matplotlib', 'pandas', 'scipy')))"
    done = subprocess.run([sys.executable, "-c", code, "history", nightly], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_that_used_the_database_ends_quietly(nightly: Path, tmp_path: Path) -> None:
    """Extension modules complain at exit about objects that are still alive."""
    command = [sys.executable, "-m", "vlbench", "history", nightly, "--store", tmp_path / "store.duckdb"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr

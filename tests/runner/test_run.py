"""`vlbench run` from the outside: what it prints, what it leaves, what it keeps."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

import vlbench as package
from tests.command_line import kept_workers, vlbench
from tests.helpers import write_tiny
from tests.runner.conftest import TINY, Run
from vlbench.architectures.build import build
from vlbench.specs.catalog import catalog

QUICK = ("--budget", 0.2, "--restarts", 1, "--device", "cpu")
REQUIRED = """
schema model status error device precision backend batch image_size image_tokens text_tokens weights detector_load
params_total params_trainable params_by_stage macs macs_by_stage flops latency_ms latency_ms_by_stage
peak_memory_bytes machine spec_hash vlbench_version
""".split()


def test_a_run_measures_every_model_and_says_where_the_results_are(tiny_run: Run) -> None:
    assert tiny_run.process.returncode == 0, tiny_run.process.stderr
    assert {line["model"] for line in tiny_run.lines} == {f"{name}-tiny" for name in TINY}
    rows = [line.split()[0] for line in tiny_run.process.stdout.splitlines()[1 : 1 + len(TINY)]]
    assert rows == [f"{name}-tiny" for name in TINY], "the table keeps the order asked for"
    assert {line["status"] for line in tiny_run.lines} == {"ok"}
    assert f"results: {tiny_run.folder}" in tiny_run.process.stderr
    assert {path.name for path in tiny_run.folder.iterdir()} == {"cells.jsonl", "peaks.jsonl", "table.md", "table.csv"}


def test_a_line_holds_what_was_measured(tiny_run: Run) -> None:
    for line in tiny_run.lines:
        assert set(REQUIRED) <= set(line)
        assert set(line["latency_ms"]) == {"median", "ci95", "p90", "p99", "n", "by_restart"}
        assert {"cpu", "cores", "threads", "ram_bytes", "gpu", "os", "python", "torch", "torchvision"} <= set(
            line["machine"]
        )


def test_figures_hold_together(tiny_run: Run) -> None:
    for line in tiny_run.lines:
        spec = catalog()[line["model"].removesuffix("-tiny")].tiny()
        model = build(spec)
        assert line["params_total"] == sum(parameter.numel() for parameter in model.parameters())
        assert line["flops"] == 2 * line["macs"]
        parts = [name for name in line["macs_by_stage"] if "." not in name]
        assert sum(line["macs_by_stage"][name] for name in parts) == line["macs"]
        latency, stages = line["latency_ms"], line["latency_ms_by_stage"]
        assert len(latency["by_restart"]) == len(line["restarts"]) >= 6
        assert latency["n"] == sum(len(restart["latency_ms"]) for restart in line["restarts"])
        assert latency["median"] == pytest.approx(median(latency["by_restart"]))
        assert latency["by_restart"][2] == pytest.approx(median(line["restarts"][2]["latency_ms"]))
        assert (latency["p90"] is None) == (latency["n"] < 64)
        for samples in (restart["latency_ms_by_stage"] for restart in line["restarts"]):
            sums = [sum(spent) for spent in zip(*(samples[name] for name in [*parts, "rest"]), strict=True)]
            assert sums == pytest.approx(samples["total"])
        assert stages["rest"]["median"] < 0.5 * stages["total"]["median"]
        assert line["peak_memory_bytes"] > 4 * line["params_total"]
        assert line["machine"]["threads"] == 1


def test_a_region_model_carries_and_prints_its_load(tiny_run: Run) -> None:
    (line,) = [line for line in tiny_run.lines if line["family"] == "region"]
    assert line["detector_load"] == {"rpn_candidates": 60, "proposals": 12, "nms_pairs": 12 * 9, "regions": 5}
    assert "60 rpn candidates, 12 proposals, 108 nms pairs, 5 regions" in tiny_run.process.stdout


def test_machine_and_weights_stand_under_the_table(tiny_run: Run) -> None:
    printed = tiny_run.process.stdout
    assert tiny_run.lines[0]["machine"]["cpu"].split()[0] in printed
    assert "Weights: random" in printed
    assert all(line["model"] in printed for line in tiny_run.lines)
    assert ".roi_head" in printed


def test_a_second_run_into_the_same_folder_keeps_what_is_there(tiny_run: Run) -> None:
    before = (tiny_run.folder / "cells.jsonl").read_text()
    again = vlbench(
        "run", "--models", tiny_run.models, "--threads", 1, "--device", "cpu", "--out", tiny_run.folder, "--budget", 9
    )
    assert again.returncode == 0
    assert "kept from" in again.stderr
    assert (tiny_run.folder / "cells.jsonl").read_text() == before


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "latex"])
def test_show_prints_every_format(tiny_run: Run, form: str) -> None:
    process = vlbench("show", tiny_run.folder, "--format", form)
    assert process.returncode == 0
    if form == "json":
        assert json.loads(process.stdout) == tiny_run.lines
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(process.stdout)))
        assert [float(row["latency_ms.median"]) for row in rows] == [
            pytest.approx(line["latency_ms"]["median"]) for line in tiny_run.lines
        ]
        assert [int(row["macs_by_stage.visual"]) for row in rows] == [
            line["macs_by_stage"]["visual"] for line in tiny_run.lines
        ]
    if form == "markdown":
        assert process.stdout.startswith("| model ")
    if form == "latex":
        assert process.stdout.count(r"\bottomrule") == 2
    assert all(line["model"] in process.stdout for line in tiny_run.lines)


@pytest.mark.slow
def test_a_cell_that_cannot_be_measured_is_a_line_and_the_others_run(tmp_path: Path) -> None:
    """Weights of terabytes fit into no memory."""
    good = write_tiny(tmp_path, "vit-b16")
    bad = write_tiny(tmp_path, "vilt-b32", name="huge")
    bad.write_text(bad.read_text().replace(" width: 32", " width: 65536"))
    out = tmp_path / "out"
    process = vlbench("run", "--models", f"{bad},{good}", "--threads", 1, *QUICK, "--out", out)
    assert process.returncode == 1
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["failed", "ok"]
    assert "of memory are free" in lines[0]["error"]
    assert "huge: failed: huge: its weights need" in process.stdout


@pytest.mark.slow
def test_a_worker_that_may_not_have_the_memory_is_a_line_and_the_others_run(tmp_path: Path) -> None:
    """A limit on the address space, which every process of the run inherits; 100,000 examples do not fit into it."""
    models = [write_tiny(tmp_path, name) for name in ("vit-b16", "vilt-b32")]
    out = tmp_path / "out"
    many = f"exec {sys.executable} -m vlbench run --models {models[0]} --batch 100000 --device cpu --out {out}"
    process = subprocess.run(["bash", "-c", f"ulimit -v 8000000; {many}"], capture_output=True, text=True, check=False)
    assert process.returncode == 1, process.stderr
    assert "out of memory" in process.stdout
    good = vlbench("run", "--models", models[1], "--threads", 1, *QUICK, "--out", out)
    assert good.returncode == 0
    assert [line["status"] for line in map(json.loads, (out / "cells.jsonl").open())] == ["failed", "ok"]


def test_options_reach_the_result(tmp_path: Path) -> None:
    model = write_tiny(tmp_path, "vilt-b32")
    out = tmp_path / "out"
    options = ("--batch", 3, "--precision", "bf16", "--image-size", "64x96", "--text-tokens", 20, "--threads", 2)
    process = vlbench("run", "--models", model, *options, *QUICK, "--out", out)
    assert process.returncode == 0, process.stderr
    (line,) = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert (line["batch"], line["precision"], line["text_tokens"]) == (3, "bf16", 20)
    assert (line["image_size"], line["image_tokens"]) == ([64, 96], 1 + 2 * 3)
    assert line["machine"]["threads"] == 2


def test_the_python_interface_measures_the_same_cell(tmp_path: Path) -> None:
    model = package.load(write_tiny(tmp_path, "vit-b16"))
    with kept_workers():
        result = model.measure(device="cpu", threads=1, budget_seconds=0.2, restarts=1)
    assert result.status == "ok"
    assert result.params_total == sum(parameter.numel() for parameter in model.build().parameters())
    assert package.build(model.spec).training
    with pytest.raises(package.InputError, match="means 5 models"):
        package.load("vit-*")

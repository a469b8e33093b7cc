"""What training took stands beside accuracy and latency, and models without training do without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.helpers import write_lines, write_results
from vlbench.cli.main import app
from vlbench.inputs import read_example
from vlbench.measuring.machine import Machine
from vlbench.report import accuracy, tables
from vlbench.report.accuracy import joined
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.execution import execution_of
from vlbench.runner.reader import read_evaluations, read_results
from vlbench.runner.records import Accuracy, Evaluation, Result, Training
from vlbench.specs.catalog import catalog
from vlbench.tables.writers import to_markdown
from vlbench.tasks.items import Metric

MACHINE = Machine(
    cpu="x", cores=2, logical_cores=2, threads=2, ram_bytes=2**34, gpu=None, os="Linux", python="3.12", torch="2.11"
)
METRIC = Metric(name="accuracy", value=0.81, ci95=None, n=100)
SPEC = catalog()["vilt-b32"].tiny()
TRAINING = Training(
    preset="tiny",
    samples=200_000,
    steps=3_125,
    batch=64,
    seconds=738.0,
    macs=5.1e15,
    seed=3,
    device="cpu",
    precision="fp32",
    threads=2,
    seconds_by_phase={"detector": 188.0, "training": 550.0},
    waiting_share=0.12,
)


def evaluation(training: Training | None) -> Evaluation:
    return Evaluation(
        model=SPEC.name,
        family=SPEC.family,
        weights="model.safetensors",
        visual_weights="random",
        region_source=None,
        detector_weights=None,
        spec_hash=SPEC.hash(),
        evaluation_hash="e",
        accuracy=Accuracy(
            task="easy-vqa", split="test", metric="accuracy", value=0.81, ci95=None, n=100, metrics=(METRIC,)
        ),
        training=training,
        items=100,
        items_total=100,
        passes=200,
        seconds=3.0,
        device="cpu",
        precision="fp32",
        batch=16,
        processes=1,
        predictions="p.json",
        machine=MACHINE,
        measured_at="2026-01-01T00:00:00+00:00",
        vlbench_version="0.1.0",
    )


def result() -> Result:
    example = read_example(None, None)
    cell = Cell(spec=SPEC, image=example.image, image_sha256=example.image_sha256, text=example.text)
    return blank_result(cell, MACHINE, status="failed", error="none", measured_at="2026-01-01T00:00:00+00:00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files as they lie on the disk: the training stands with the accuracy alone."""
    write_lines(tmp_path / "evaluations.jsonl", [evaluation(TRAINING)])
    return write_results(tmp_path, [result()])


def test_it_is_joined_when_it_is_shown(folder: Path) -> None:
    shown = CliRunner().invoke(app, ["show", str(folder), "--format", "json"], catch_exceptions=False)
    (cell,) = json.loads(shown.stdout)
    assert cell["training"] == TRAINING.model_dump(mode="json")
    assert {"preset", "samples", "seconds", "macs", "seed"} <= set(cell["training"])
    assert json.loads((folder / "cells.jsonl").read_text())["training"] is None


def test_tables_tell_it(folder: Path) -> None:
    found = joined(read_results(folder), read_evaluations(folder))
    assert tables.summary_table(found).frame["trained"].tolist() == ["tiny, 200,000 samples, 12.3 min"]
    header, row = (line.split(",") for line in tables.results_csv(found).splitlines())
    assert dict(zip(header, row, strict=False))["training.seconds_by_phase.detector"] == "188"
    beside = to_markdown(accuracy.accuracy_tables(read_evaluations(folder), {}))
    assert "tiny, 200,000 samples, 12.3 min" in beside
    assert (
        "trained by preset tiny, seed 3: 200,000 samples in 3,125 steps of 64, 12.3 min (detector 3.1 min, training "
        "9.2 min), 12% waiting for data, cpu, fp32, 2 threads, 5.1e+15 MACs" in beside
    )
    assert "training.preset" in accuracy.accuracy_csv(read_evaluations(folder), {})
    (line,) = json.loads(accuracy.accuracy_json(read_evaluations(folder), {execution_of(found[0]): found[0]}))
    assert line["training"]["seed"] == 3
    assert "training" not in line["cell"]


def test_files_without_it_are_read(folder: Path) -> None:
    for path in (folder / "evaluations.jsonl", folder / "cells.jsonl"):
        line = json.loads(path.read_text())
        del line["training"]
        path.write_text(json.dumps(line) + "\n")
    found = joined(read_results(folder), read_evaluations(folder))
    assert [one.training for one in found] == [None]
    assert found[0].accuracy is not None
    assert "trained" not in tables.summary_table(found).without_empty().names
    assert "training" not in tables.results_csv(found)
    assert " trained " not in to_markdown(accuracy.accuracy_tables(read_evaluations(folder), {}))


def test_what_it_took_is_no_less_than_nothing() -> None:
    with pytest.raises(ValidationError):
        Training(preset="tiny", samples=-1, seconds=1.0, seed=0)
    with pytest.raises(ValidationError, match="Extra inputs"):
        Training.model_validate({"preset": "tiny", "samples": 1, "seconds": 1.0, "seed": 0, "epochs": 3})


def test_a_detector_is_called_random_where_it_is() -> None:
    region = evaluation(None).model_copy(update={"region_source": "detector", "detector_weights": "random"})
    said = {
        "random": region,
        "trained": region.model_copy(update={"detector_weights": "trained"}),
        "precomputed": region.model_copy(update={"region_source": "precomputed", "detector_weights": None}),
        "without regions": evaluation(None),
    }
    found = [name for name, one in said.items() if "its detector has random" in "\n".join(accuracy.notes([one], {}))]
    assert found == ["random"]

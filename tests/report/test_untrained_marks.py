"""Every table that shows the accuracy of a part with random weights says so beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import Command
from tests.report.evaluated import evaluation, result
from vlbench.report.accuracy import accuracy_tables, joined
from vlbench.report.frontier import frontier_frame
from vlbench.report.tables import result_tables
from vlbench.runner.execution import execution_of
from vlbench.runner.records import EVALUATIONS
from vlbench.tables.writers import to_markdown
from vlbench.tasks.items import Metric

HEAD = ("head.classifier.weight", "head.classifier.bias")
METRICS = (Metric(name="accuracy", value=0.0643, ci95=(0.05, 0.08), n=1000),)
UNTRAINED: list[tuple[dict[str, Any], str]] = [
    ({"weights": "random"}, "random weights"),
    ({"missing_keys": HEAD}, "random head"),
    ({"detector_weights": "random"}, "random detector"),
    (
        {"missing_keys": (*HEAD, "interaction.norm.bias"), "detector_weights": "random"},
        "random head and interaction and detector",
    ),
    ({"detector_weights": "trained"}, ""),
]


@pytest.mark.parametrize(("values", "mark"), UNTRAINED)
def test_what_is_random(values: dict[str, Any], mark: str) -> None:
    evaluated = evaluation("patch", 0.0643, **values)
    assert evaluated.untrained == mark
    assert "untrained" not in json.loads(evaluated.model_dump_json())["accuracy"]
    assert "untrained" not in json.loads(evaluated.marked_accuracy.model_dump_json())


def test_tables_of_eval_run_and_figures() -> None:
    cell, evaluated = result("patch", 10.0), evaluation("patch", 0.0643, missing_keys=HEAD)
    table = to_markdown(accuracy_tables([evaluated], {execution_of(cell): cell}))
    assert "model.safetensors, random head" in table.splitlines()[2]
    assert "6.4% shapes test (random head)" in to_markdown(result_tables(joined([cell], [evaluated])))
    assert frontier_frame([cell], [evaluated])["label"].tolist() == ["patch (random head)"]


@pytest.mark.parametrize(
    "arguments",
    [
        "choose {} --latency-ms 100",
        "export {}",
        "export {} --table accuracy",
        "show {}",
        "show {} --format markdown",
        "report {} --out {}/r.html",
    ],
)
def test_commands(tmp_path: Path, arguments: str, vlbench_command: Command) -> None:
    (tmp_path / "cells.jsonl").write_text(result("patch", 10.0).model_dump_json(by_alias=True) + "\n")
    (tmp_path / EVALUATIONS).write_text(
        evaluation("patch", 0.0643, missing_keys=HEAD, metrics=METRICS).model_dump_json(by_alias=True) + "\n"
    )
    words = arguments.format(tmp_path, tmp_path).split()
    done = vlbench_command(*words)
    text = (tmp_path / "r.html").read_text() if "--out" in words else done.stdout
    assert "6.4" in text
    assert "random head" in text

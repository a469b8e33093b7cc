"""docs/results.md is the reference of the results' format: it names every key of every record, and no other."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from tests.paths import RESULTS, ROOT
from tests.runner.conftest import Run
from vlbench.measuring.machine import GPU_HARDWARE, GPU_SOFTWARE, LIBRARIES, Machine
from vlbench.measuring.noise import Interference, Noise
from vlbench.measuring.statistics import LatencySummary
from vlbench.runner.nms_records import SuppressionCell, SuppressionRestart, SuppressionResult
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import (
    Accuracy,
    Conversion,
    Equality,
    Evaluation,
    Launch,
    Restart,
    Result,
    Training,
    WarmUp,
)
from vlbench.runner.store import UnfinishedRestart
from vlbench.tasks.items import Metric, PairedDifference
from vlbench.training.curve import CurvePoint

# The heading of each record's table; or, for one that is explained in another's row, that heading and the row's key.
TABLES: dict[type, str] = {
    Result: "A line of `cells.jsonl`",
    LatencySummary: "Latency",
    Conversion: "Conversion",
    Equality: "Equality",
    Noise: "Noise",
    Restart: "A restart",
    Launch: "Launch",
    Interference: "Interference",
    Machine: "Machine",
    Peaks: "A line of `peaks.jsonl`",
    SuppressionResult: "A line of `suppressions.jsonl`",
    SuppressionCell: "The cell of a suppression",
    Evaluation: "A line of `evaluations.jsonl`",
    Accuracy: "Accuracy",
    Training: "Training",
    CurvePoint: "A line of `training.jsonl`",
    UnfinishedRestart: "A line of `*.unfinished.jsonl`",
}
ROWS: dict[type, tuple[str, str]] = {
    WarmUp: (TABLES[Restart], "warm_up"),
    SuppressionRestart: (TABLES[SuppressionResult], "restarts"),
    Metric: (TABLES[Accuracy], "metrics"),
    PairedDifference: (TABLES[Evaluation], "difference"),
}
FILES = {
    "cells.jsonl": Result,
    "peaks.jsonl": Peaks,
    "suppressions.jsonl": SuppressionResult,
    "evaluations.jsonl": Evaluation,
    "training.jsonl": CurvePoint,
}


def keys(record: type) -> set[str]:
    """As JSON has them; of a machine, the libraries too."""
    if dataclasses.is_dataclass(record):
        return {field.name for field in dataclasses.fields(record)}
    assert issubclass(record, BaseModel)
    names = {field.alias or name for name, field in record.model_fields.items() if not field.exclude}
    return names | ({*LIBRARIES, *GPU_SOFTWARE, *GPU_HARDWARE} if record is Machine else set())


def required_keys(record: type[BaseModel]) -> set[str]:
    fields = record.model_fields.items()
    return {field.alias or name for name, field in fields if not field.exclude and field.default is not None}


def rows(heading: str) -> dict[str, str]:
    """Each key of the table below a heading, with its row."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    table = [line for line in section.splitlines() if line.startswith("| `")]
    return {key: line for line in table for key in re.findall(r"`([^`]+)`", line.split(" | ")[0])}


def records_within(annotation: Any) -> Iterator[type]:
    """The records that a field's annotation holds, those within them as well."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        yield annotation
        fields = annotation.model_fields.values() if issubclass(annotation, BaseModel) else ()
        for field in fields:
            yield from records_within(field.annotation)
    for part in get_args(annotation):
        yield from records_within(part)


@pytest.mark.parametrize("record", TABLES, ids=lambda record: record.__name__)
def test_every_key_is_documented_and_none_that_does_not_exist(record: type) -> None:
    assert set(rows(TABLES[record])) == keys(record)


@pytest.mark.parametrize("record", ROWS, ids=lambda record: record.__name__)
def test_every_key_of_a_small_record_is_documented_in_its_row(record: type) -> None:
    heading, key = ROWS[record]
    assert {name for name in keys(record) if f"`{name}`" not in rows(heading)[key]} == set()


def test_every_record_within_a_line_is_documented() -> None:
    lines = (*FILES.values(), UnfinishedRestart)
    assert {record for line in lines for record in records_within(line)} == {*TABLES, *ROWS}


def test_every_section_of_a_line_is_of_a_record() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^##+ (A line of .*)$", text, flags=re.MULTILINE)) <= set(TABLES.values())


@pytest.mark.parametrize("name", ["cells.jsonl", "peaks.jsonl"])
def test_a_written_line_has_the_documented_keys(tiny_run: Run, name: str) -> None:
    lines = [json.loads(text) for text in (tiny_run.folder / name).read_text(encoding="utf-8").splitlines()]
    assert lines
    for line in lines:
        assert set(line) == set(rows(TABLES[FILES[name]]))


@pytest.mark.parametrize("name", FILES)
def test_published_lines_have_the_documented_keys(name: str) -> None:
    """An earlier version's lines may lack what is null where it was not measured."""
    paths = sorted(RESULTS.rglob(name))
    documented, required = set(rows(TABLES[FILES[name]])), required_keys(FILES[name])
    assert paths
    for path in paths:
        for text in path.read_text(encoding="utf-8").splitlines():
            assert required <= set(json.loads(text)) <= documented, path

"""Tables that hold what a chart shows, for readers who cannot see it or want the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from vlbench.report.accuracy import BLIND
from vlbench.report.frames import Results
from vlbench.report.tables import stage_columns
from vlbench.report.views import labels
from vlbench.tables.numbers import ends, percent
from vlbench.tables.table import Table, TableColumn


def stages(results: Results) -> Table:
    """By labels that distinguish the measurements of one model."""
    labelled = zip(labels(results), (one for *_, one in results.named), strict=True)
    staged = [(label, one) for label, one in labelled if one.latency_ms_by_stage]
    columns = [column.of(itemgetter(1)) for column in stage_columns([one for _, one in staged])]
    table = Table.of((TableColumn("model", itemgetter(0)), *columns), staged, caption="Median ms by stage")
    return table.without_empty()


def metrics(results: Results) -> Table:
    several = len(results.folders) > 1
    rows = [
        (folder.label, one, metric)
        for folder in results.folders
        for one in folder.evaluations
        for metric in one.accuracy.metrics
    ]
    columns: list[TableColumn[Any]] = [
        TableColumn("model", lambda row: row[1].model),
        *([TableColumn[Any]("results", itemgetter(0))] if several else []),
        TableColumn("task", lambda row: f"{row[1].accuracy.task} {row[1].accuracy.split}"),
        TableColumn("metric", lambda row: row[2].name),
        TableColumn("%", lambda row: row[2].value, percent),
        TableColumn("95% interval", lambda row: row[2].ci95, ends(percent)),
        TableColumn("n", lambda row: row[2].n, "{:,}".format),
    ]
    return Table.of([*columns, *(_blind(*names) for names in BLIND.items())], rows, caption="All metrics")


def _blind(field: str, heading: str) -> TableColumn[Any]:
    """Blind baselines are of a task's first metric."""

    def get(row: Any) -> float | None:
        _, one, metric = row
        return getattr(one.accuracy, field) if metric.name == one.accuracy.metric else None

    return TableColumn(heading, get, percent)


def scaling(axis: str, rows: Sequence[dict[str, Any]]) -> Table:
    keys = {axis: "x_text", "latency": "latency_text", "an example": "each_text"}
    return Table.of([TableColumn("measurements", itemgetter("line")), *_numbers(keys)], rows, caption="Scaling")


def roofline(rows: Sequence[dict[str, Any]]) -> Table:
    keys = {"intensity": "intensity_text", "achieved": "gflops_text", "of the roof": "of_roof"}
    words = [TableColumn[Any]("measurement", itemgetter("label")), TableColumn[Any]("stage", itemgetter("stage"))]
    return Table.of([*words, *_numbers(keys)], rows, caption="Roofline")


def _numbers(keys: dict[str, str]) -> list[TableColumn[Any]]:
    return [TableColumn(heading, itemgetter(key), str) for heading, key in keys.items()]

"""The page's section on accuracy: over latency and over MACs, with the frontier."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import altair as alt

from vlbench.report.accuracy import BLIND
from vlbench.report.frames import Results
from vlbench.report.frontier import ON, frontier_frame, left_out
from vlbench.report.page import vega
from vlbench.report.page.sections import Chart, Rows, Section
from vlbench.report.page.vega import scale_and_axis
from vlbench.report.tables import billions
from vlbench.runner.records import Evaluation, Result
from vlbench.tables.numbers import bracketed, ends, percent
from vlbench.tables.table import Table, TableColumn

TEXT = (
    "Up and to the left is better. The grey line joins what no other beats on both; a hollow mark is beaten. "
    "A coloured line joins the backends and precisions of a model. Bars are 95% intervals."
)
NO_FRONTIER = "No model here has both an accuracy and a latency, so there is no frontier to draw."
COSTS = {"latency_ms": ("latency, ms", "on"), "gmacs": ("GMACs", "on_macs")}  # title, and whether it is on the frontier


def section(results: Results) -> Section | None:
    table = _table(results)
    if not table.rows:
        return None
    charts = tuple(_charts(results))
    note = left_out(*_measured_and_evaluated(results))
    return Section(
        "accuracy",
        "Accuracy and what it costs",
        " ".join([TEXT if charts else NO_FRONTIER, *([f"{note}."] if note else [])]),
        charts,
        link="Accuracy",
        families=bool(charts),
        summary="All metrics",
        tables=(table,),
    )


def _charts(results: Results) -> list[Chart]:
    charts: list[Chart] = []
    for (task, split, metric), rows in _frontier_rows(results).items():
        for cost, (title, on) in COSTS.items():
            distinct = {(row["line"], row[cost], row["accuracy"]): row for row in reversed(rows) if row[cost]}
            points = [row | {"on": row[on]} for row in reversed(distinct.values())]
            if points:
                spec = _spec(points, cost=cost, title=title, metric=f"{metric}, {task} {split}")
                text = f"{metric} on {task} {split} over {title} of {len(points)} models, and those that none beats."
                data = {"frontier": points, "stairs": _stairs(points, cost)}
                charts.append(Chart(name=f"frontier-{len(charts)}", alt_text=text, specs={"": spec}, data=data))
    return charts


def _frontier_rows(results: Results) -> dict[tuple[str, str, str], Rows]:
    """Points by task, split and metric."""
    frame = frontier_frame(*_measured_and_evaluated(results))
    if not len(frame):
        return {}
    return {
        (str(task), str(split), str(metric)): list(map(_point, part.to_dict("records")))
        for (task, split, metric), part in frame.groupby(["task", "split", "metric"], sort=False)
    }


def _measured_and_evaluated(results: Results) -> tuple[list[Result], list[Evaluation]]:
    evaluations = [evaluation for folder in results.folders for evaluation in folder.evaluations]
    return [result for *_, result in results.named], evaluations


def _point(row: dict[Hashable, Any]) -> dict[str, Any]:
    macs, latency_ms = vega.known(row["macs"]), vega.known(row["latency_ms"])
    low, high = vega.bounds(row, "latency_ms")
    least, most = vega.bounds(row, "accuracy")
    accuracy, _, interval = bracketed(row["accuracy"], (least, most), percent).partition(" ")
    return {
        **{"label": row["label"], "line": row["line"], "family": row["family"], "accuracy": 100 * row["accuracy"]},
        **{name: 100 * value if value is not None else None for name, value in (("low", least), ("high", most))},
        **{"latency_ms": latency_ms, "latency_ms_low": low, "latency_ms_high": high},
        **{"gmacs": macs / 1e9 if macs else None, "gmacs_low": None, "gmacs_high": None},
        **{"on": row["frontier"] == ON, "on_macs": row["frontier_macs"] == ON, "standing": row["frontier"]},
        **{"accuracy_text": f"{accuracy}% {interval}".strip(), "macs_text": f"{billions(macs)} G" if macs else ""},
        "latency_text": "" if latency_ms is None else vega.milliseconds(latency_ms, low, high),
    }


def _stairs(points: Rows, cost: str) -> Rows:
    """The corners of the frontier, and its continuation to the most expensive model."""
    on_frontier = sorted((point for point in points if point["on"]), key=itemgetter(cost))
    corners = [{"x": point[cost], "y": point["accuracy"]} for point in on_frontier]
    return [*corners, {"x": max(point[cost] for point in points), "y": corners[-1]["y"]}] if corners else []


def _spec(points: Rows, *, cost: str, title: str, metric: str) -> dict[str, Any]:
    """Of the datasets `frontier`, one row per model, and `stairs`, the line of those that no other beats."""
    base = alt.Chart(alt.NamedData("frontier"))
    costs = [point[name] for point in points for name in (cost, f"{cost}_low", f"{cost}_high")]
    x = alt.X(f"{cost}:Q", title=title, **scale_and_axis(costs))
    y = alt.Y("accuracy:Q", title=f"{metric}, %", scale=alt.Scale(zero=False, padding=16))
    stairs = alt.Chart(alt.NamedData("stairs")).mark_line(interpolate="step-after", color=vega.MUTED, strokeWidth=1)
    stairs = stairs.encode(x=alt.X("x:Q", title=title), y=alt.Y("y:Q", title=f"{metric}, %"))
    joined = base.mark_line(strokeWidth=1, opacity=0.6).encode(x=x, y=y, color=vega.COLOUR, detail="line:N")
    across = base.transform_filter(f"datum.{cost}_low != null").mark_rule(opacity=0.7)
    across = across.encode(x=alt.X(f"{cost}_low:Q", title=title), x2=f"{cost}_high:Q", y=y, color=vega.COLOUR)
    upward = base.transform_filter("datum.low != null").mark_rule(opacity=0.7)
    upward = upward.encode(x=x, y=alt.Y("low:Q", title=f"{metric}, %"), y2="high:Q", color=vega.COLOUR)
    fields = {"accuracy_text": metric, "latency_text": "latency", "macs_text": "MACs", "standing": "frontier"}
    marks = base.mark_point(size=90, strokeWidth=2, opacity=1).encode(
        x=x,
        y=y,
        color=vega.COLOUR,
        shape=vega.SHAPE,
        fill=alt.condition("datum.on", vega.COLOUR, alt.value(vega.PAGE)),
        tooltip=[vega.tip("label:N", "model"), "family:N", *(vega.tip(f"{key}:N", fields[key]) for key in fields)],
    )
    layers = [stairs, joined, *([across] if cost == "latency_ms" else []), upward, marks.properties(name=vega.NAMED)]
    return vega.finished(vega.layered(*layers))


def _table(results: Results) -> Table:
    """Every metric of every evaluation, next to blind baselines."""
    rows = [
        (folder.label, evaluation, metric)
        for folder in results.folders
        for evaluation in folder.evaluations
        for metric in evaluation.accuracy.metrics
    ]
    columns: Sequence[TableColumn[Any]] = (
        TableColumn("model", lambda row: row[1].model),
        *([TableColumn[Any]("results", itemgetter(0))] if len(results.folders) > 1 else []),
        *(TableColumn[Any](name, partial(_of_evaluation, name)) for name in _differing(rows)),
        TableColumn("task", lambda row: f"{row[1].accuracy.task} {row[1].accuracy.split}"),
        TableColumn("metric", lambda row: row[2].name),
        TableColumn("%", lambda row: row[2].value, percent),
        TableColumn("95% interval", lambda row: row[2].ci95, ends(percent)),
        TableColumn("n", lambda row: row[2].n, "{:,}".format),
        *(_blind_baseline(*names) for names in BLIND.items()),
    )
    return Table.of(columns, rows, caption="All metrics")


def _of_evaluation(name: str, row: Any) -> Any:
    return getattr(row[1], name)


def _differing(rows: Sequence[Any]) -> list[str]:
    names = ("backend", "precision")
    return [name for name in names if len({getattr(evaluation, name) for _, evaluation, _ in rows}) > 1]


def _blind_baseline(field: str, heading: str) -> TableColumn[Any]:
    """Of a task's first metric."""

    def get(row: Any) -> float | None:
        _, evaluation, metric = row
        return getattr(evaluation.accuracy, field) if metric.name == evaluation.accuracy.metric else None

    return TableColumn(heading, get, percent)

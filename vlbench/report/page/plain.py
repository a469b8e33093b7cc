"""Tables that hold in words what a chart shows, for who cannot see it, and for who wants the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.report import tables
from vlbench.report.frames import Results
from vlbench.report.views import labels

GAP = "–"  # noqa: RUF001  a dash, as tables have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """`words` columns from the left are words, the others figures."""

    title: str
    words: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def stages(results: Results) -> Plain:
    """By the cells' own names, which tell those of one model apart."""
    pairs = zip(labels(results), results.named, strict=True)
    staged = [(label, one) for label, (*_, one) in pairs if one.latency_ms_by_stage]
    frame = tables.stage_frame([one for _, one in staged])
    rows = (row for row in frame.itertuples(index=False, name=None))
    named = tuple((label, *_or_gaps(row[1:])) for (label, _), row in zip(staged, rows, strict=True))
    return Plain(title="Median ms by stage", words=1, columns=tuple(frame.columns), rows=named)


def metrics(results: Results) -> Plain:
    several = len(results.folders) > 1
    columns = ("model", *(["results"] if several else []), "task", "metric", "%", "95% interval", "n")
    rows = []
    for folder in results.folders:
        for one in folder.evaluations:
            accuracy = one.accuracy
            for metric in accuracy.metrics:
                first = metric.name == accuracy.metric
                without = (accuracy.majority, accuracy.text_only, accuracy.shuffled_images) if first else (None,) * 3
                ends = " to ".join(map(tables.percent, metric.ci95)) if metric.ci95 else None
                words = (
                    one.model,
                    *([folder.label] if several else []),
                    f"{accuracy.task} {accuracy.split}",
                    metric.name,
                )
                figures = (tables.percent(metric.value), ends, f"{metric.n:,}", *map(tables.percent, without))
                rows.append((*words, *_or_gaps(figures)))
    others = ("majority", "text only", "shuffled images")
    return Plain(title="All metrics", words=4 if several else 3, columns=(*columns, *others), rows=tuple(rows))


def scaling(axis: str, rows: Sequence[dict[str, Any]]) -> Plain:
    keys = ("line", "x_text", "latency_text", "each_text")
    return Plain(title="Scaling", words=1, columns=("cells", axis, "latency", "an example"), rows=_picked(rows, keys))


def roofline(rows: Sequence[dict[str, Any]]) -> Plain:
    keys = ("label", "stage", "intensity_text", "gflops_text", "of_roof")
    columns = ("cell", "stage", "intensity", "achieved", "of the roof")
    return Plain(title="Roofline", words=2, columns=columns, rows=_picked(rows, keys))


def _picked(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(str(row[key]) for key in keys) for row in rows)


def _or_gaps(values: Sequence[object]) -> list[str]:
    return [value if isinstance(value, str) and value else GAP for value in values]

"""Accuracy in the tables: beside the latency of the same model, with what is reached without looking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from vlbench.markup import comments
from vlbench.report import frontier, tables
from vlbench.runner.records import Evaluation, Result, Training, minutes
from vlbench.tasks.items import Metric
from vlbench.tasks.registry import TASKS

Cells = dict[str, Result]  # by the hash of their spec


def joined(results: Sequence[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    """Each result with the accuracy of its model and what training it took; one with several stands there for each."""
    found: list[Result] = []
    for result in results:
        own = [one for one in evaluations if one.spec_hash == result.spec_hash]
        found += [result.model_copy(update={"accuracy": one.accuracy, "training": one.training}) for one in own] or [
            result
        ]
    return found


def accuracy_frame(evaluations: Sequence[Evaluation], cells: Cells) -> pd.DataFrame:
    """A row a model: its first metric, what that is without looking, and what a pass costs."""
    rows = []
    for one in evaluations:
        accuracy, cell = one.accuracy, cells.get(one.spec_hash)
        measured = tables.summary_frame([cell]).iloc[0].to_dict() if cell else {}
        row: dict[str, object] = {
            "model": one.model,
            "weights": one.weights if one.weights.startswith("hub:") else Path(one.weights).name,
            "trained": one.training.in_words() if one.training else None,
            "metric": accuracy.metric,
            "n": f"{accuracy.n:,}",
            "%": tables.percent(accuracy.value),
            "95% interval": interval(accuracy.ci95),
            "majority" if accuracy.metric == "accuracy" else "chance": tables.percent(accuracy.majority),
            "text only": tables.percent(accuracy.text_only),
            "shuffled images": tables.percent(accuracy.shuffled_images),
        }
        row |= {"latency ms": measured.get("latency ms"), "latency 95%": measured.get("95% interval")}
        rows.append(row | {name: measured.get(name) for name in ("GMACs", "params M")})
    return pd.DataFrame(rows, dtype=object).replace("", None).dropna(axis="columns", how="all")


def metric_frame(evaluations: Sequence[Evaluation]) -> pd.DataFrame:
    """A row a metric, a column a model, where there is more than one metric."""
    columns = {
        one.model: {metric.name: _with_interval(metric) for metric in one.accuracy.metrics}
        for one in evaluations
        if len(one.accuracy.metrics) > 1
    }
    return pd.DataFrame(columns, dtype=object).rename_axis("metric").reset_index() if columns else pd.DataFrame()


def _with_interval(metric: Metric) -> str:
    return f"{tables.percent(metric.value)}{f' [{interval(metric.ci95)}]' if metric.ci95 else ''}"


def notes(evaluations: Sequence[Evaluation], cells: Cells) -> list[str]:
    """What must be known beside the figures."""
    tasks = dict.fromkeys((one.accuracy.task, one.accuracy.split, one.items, one.items_total) for one in evaluations)
    lines = [
        f"Task: {task} {split}, {f'{items:,} of ' if items != of else ''}{of:,} {_things(task)}; percent, bootstrap "
        "95% intervals"
        for task, split, items, of in tasks
    ]
    lines += [f"Machine: {words}" for words in dict.fromkeys(one.machine.in_words() for one in evaluations)]
    for one in evaluations:
        if one.weights == "random":
            lines.append(f"{one.model}: random weights; --weights {one.model}=PATH or hub:OWNER/NAME loads others")
        if one.training:
            lines.append(f"{one.model}: {_trained(one.training)}")
        if one.missing_keys:
            others = f" and {len(one.missing_keys) - 1} more" if len(one.missing_keys) > 1 else ""
            lines.append(f"{one.model}: its weights lack {one.missing_keys[0]}{others}, left random")
        if one.detector_weights == "random":
            lines.append(
                f"{one.model}: its detector has random weights; --features FILE, or --weights {one.model}.visual=PATH"
            )
        cell = cells.get(one.spec_hash)
        if cell is not None and cell.status != "ok":
            lines.append(f"{one.model}: latency {cell.status}: {cell.error}")
        lines.append(
            f"{one.model}: {one.passes:,} passes in {minutes(one.seconds)}, batch {one.batch}, {one.device}, "
            f"{one.precision}; predictions: {one.predictions}"
        )
    return lines + frontier.lines(cells.values(), evaluations)


def _things(task: str) -> str:
    return "images and their captions" if task in TASKS and TASKS[task].has_gallery else "items"


def _trained(training: Training) -> str:
    """`trained by preset tiny, seed 0: 200,000 samples in 3,125 steps of 64, 12.3 min, cpu, fp32, 2 threads`"""
    words = [f"trained by preset {training.preset}, seed {training.seed}: {training.samples:,} samples"]
    if training.steps is not None:
        words[0] += f" in {training.steps:,} steps" + (f" of {training.batch}" if training.batch else "")
    phases = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in training.seconds_by_phase.items())
    words.append(minutes(training.seconds) + (f" ({phases})" if len(training.seconds_by_phase) > 1 else ""))
    words += filter(None, (training.device, training.precision))
    words += [f"{training.processes} processes"] if training.processes > 1 else []
    words += [f"{training.threads} thread{'s' if training.threads != 1 else ''}"] if training.threads else []
    return ", ".join(words + ([f"{training.macs:.3g} MACs"] if training.macs is not None else []))


def render(evaluations: Sequence[Evaluation], cells: Cells, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: any width."""
    parts: list[RenderableType] = [tables.rich_table(accuracy_frame(evaluations, cells), width)]
    metrics = metric_frame(evaluations)
    if len(metrics):
        parts += [Text(""), tables.rich_table(metrics, width)]
    lines = "\n".join(notes(evaluations, cells))
    return Group(*parts, Text(""), Text(lines, style="dim", overflow="fold"))


def markdown(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    frames = [accuracy_frame(evaluations, cells), metric_frame(evaluations)]
    parts = [tables.markdown_table(frame) for frame in frames if len(frame)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(evaluations, cells))]) + "\n"


def latex(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    frames = [accuracy_frame(evaluations, cells), metric_frame(evaluations)]
    parts = [tables.latex_table(frame) for frame in frames if len(frame)]
    return "\n".join([*parts, comments(notes(evaluations, cells))]) + "\n"


def csv(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    """A row a metric, in plain units."""
    rows = []
    for one in evaluations:
        content = one.model_dump(mode="json", by_alias=True, exclude={"accuracy", "training", "machine"})
        training = one.training.model_dump(mode="json") if one.training else {}
        cell = cells.get(one.spec_hash)
        latency = cell.latency_ms if cell and cell.status == "ok" else None
        for metric in one.accuracy.metrics:
            low, high = metric.ci95 or (None, None)
            rows.append(
                content
                | {"task": one.accuracy.task, "split": one.accuracy.split, "metric": metric.name, "value": metric.value}
                | {"ci95_low": low, "ci95_high": high, "n": metric.n}
                | tables.flattened("training", training)
                | {"latency_ms": latency.median if latency else None, "macs": cell.macs if cell else None}
            )
    return pd.DataFrame(rows).convert_dtypes().to_csv(index=False)


def as_json(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    """A list of the lines of evaluations.jsonl, each with the line of its cell, samples left out."""
    content = []
    for one in evaluations:
        cell = cells.get(one.spec_hash)
        measured = (
            cell.model_dump(mode="json", by_alias=True, exclude={"restarts", "accuracy", "training"}) if cell else None
        )
        content.append(one.model_dump(mode="json", by_alias=True) | {"cell": measured})
    return json.dumps(content, indent=1) + "\n"


WRITERS = {"json": as_json, "csv": csv, "markdown": markdown, "latex": latex}


def interval(ci95: tuple[float, float] | None) -> str:
    return f"{tables.percent(ci95[0])} to {tables.percent(ci95[1])}" if ci95 else ""

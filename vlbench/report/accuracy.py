"""Accuracy as tables: next to the latency of the same model and to blind baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlbench.report import frontier
from vlbench.report.tables import GMACS, INTERVAL, LATENCY, PARAMS, timed
from vlbench.runner.records import Accuracy, Evaluation, Result, Training, minutes
from vlbench.tables.numbers import bracketed, counted, ends, percent
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_csv, to_json
from vlbench.tasks.items import Metric
from vlbench.tasks.registry import TASKS

Cells = Mapping[str, Result]  # by the hash of their spec
BLIND = {"majority": "majority", "text_only": "text only", "shuffled_images": "shuffled images"}  # by field


def joined(results: Sequence[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    """Each result with the accuracy and training of its model; a model with several accuracies has one for each."""
    rows: list[Result] = []
    for result in results:
        of_model = [evaluation for evaluation in evaluations if evaluation.spec_hash == result.spec_hash]
        rows += [
            result.model_copy(update={"accuracy": evaluation.marked_accuracy, "training": evaluation.training})
            for evaluation in of_model
        ] or [result]
    return rows


def accuracy_tables(evaluations: Sequence[Evaluation], cells: Cells) -> list[Table]:
    """A row per model with its first metric; then, if a model has several metrics, a row per metric."""
    first = Table.of(_columns(cells), evaluations)
    return [first, _metric_table(evaluations), Table(notes=tuple(notes(evaluations, cells)))]


def _columns(cells: Cells) -> list[TableColumn[Any]]:
    def accuracy(name: str, field: str, write: Any = percent) -> TableColumn[Any]:
        return TableColumn[Accuracy](name, lambda evaluation: getattr(evaluation, field), write).of(
            lambda evaluation: evaluation.accuracy
        )

    def majority(name: str, *, of_accuracy: bool) -> TableColumn[Any]:
        """Of a metric other than accuracy it is the chance level."""
        column = TableColumn[Accuracy](name, lambda evaluation: evaluation.majority, percent)
        return column.of(
            lambda evaluation: (
                evaluation.accuracy if (evaluation.accuracy.metric == "accuracy") == of_accuracy else None
            )
        )

    columns: list[TableColumn[Any]] = [
        TableColumn("model", lambda evaluation: evaluation.model),
        TableColumn(
            "weights",
            _weights,
        ),
        TableColumn("trained", lambda evaluation: evaluation.training and evaluation.training.in_words()),
        accuracy("metric", "metric", None),
        accuracy("n", "n", "{:,}".format),
        accuracy("%", "value"),
        accuracy("95% interval", "ci95", ends(percent)),
        majority("majority", of_accuracy=True),
        majority("chance", of_accuracy=False),
        *(accuracy(BLIND[field], field) for field in ("text_only", "shuffled_images")),
    ]
    measured = (LATENCY, replace(INTERVAL, name="latency 95%"), GMACS, PARAMS)
    return columns + [column.of(lambda evaluation: cells.get(evaluation.spec_hash)) for column in measured]


def _weights(evaluation: Evaluation) -> str:
    """Where they come from, and which parts they leave random."""
    source = evaluation.weights if evaluation.weights.startswith("hub:") else Path(evaluation.weights).name
    return source if evaluation.weights == "random" else ", ".join(filter(None, (source, evaluation.untrained)))


def _metric_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row per metric, a column per model."""
    by_model = {
        evaluation.model: {metric.name: metric for metric in evaluation.accuracy.metrics}
        for evaluation in evaluations
        if len(evaluation.accuracy.metrics) > 1
    }
    columns = [TableColumn[str]("metric", str)]
    columns += [TableColumn(model, metrics.get, _with_interval) for model, metrics in by_model.items()]
    return Table.of(columns, dict.fromkeys(name for metrics in by_model.values() for name in metrics))


def _with_interval(metric: Metric) -> str:
    return bracketed(metric.value, metric.ci95, percent, between=" to ")


def notes(evaluations: Sequence[Evaluation], cells: Cells) -> list[str]:
    """The tasks and machines; then, per model, weights, training, errors and the passes it took."""
    tasks = dict.fromkeys(
        (evaluation.accuracy.task, evaluation.accuracy.split, evaluation.items, evaluation.items_total)
        for evaluation in evaluations
    )
    lines = [
        f"Task: {task} {split}, {f'{items:,} of ' if items != of else ''}{of:,} {_items(task)}; percent, 95% intervals"
        for task, split, items, of in tasks
    ]
    lines += [
        f"Machine: {words}" for words in dict.fromkeys(evaluation.machine.in_words() for evaluation in evaluations)
    ]
    for evaluation in evaluations:
        lines += [f"{evaluation.model}: {line}" for line in _model_notes(evaluation, cells.get(evaluation.spec_hash))]
    return lines + frontier.lines(cells.values(), evaluations)


def _model_notes(evaluation: Evaluation, cell: Result | None) -> Iterator[str]:
    if evaluation.weights == "random":
        yield f"random weights; --weights {evaluation.model}=PATH or hub:OWNER/NAME loads others"
    if evaluation.training:
        yield _training(evaluation.training)
    if evaluation.missing_keys:
        others = f" and {len(evaluation.missing_keys) - 1} more" if len(evaluation.missing_keys) > 1 else ""
        yield f"its weights lack {evaluation.missing_keys[0]}{others}, left random"
    if evaluation.detector_weights == "random":
        yield f"its detector has random weights; --features FILE, or --weights {evaluation.model}.visual=PATH"
    if cell is not None and cell.status != "ok":
        yield f"latency {cell.status}: {cell.error}"
    passes = f"{evaluation.passes:,} passes in {minutes(evaluation.seconds)}"
    settings = f"batch {evaluation.batch}, {evaluation.device}, {evaluation.precision}"
    yield f"{passes}, {settings}; predictions: {evaluation.predictions}"


def _items(task: str) -> str:
    return "images and their captions" if task in TASKS and TASKS[task].has_gallery else "items"


def _training(training: Training) -> str:
    """`trained by preset tiny, seed 0: 200,000 samples in 3,125 steps of 64, 12.3 min, cpu, fp32, 2 threads`"""
    words = [f"trained by preset {training.preset}, seed {training.seed}: {training.samples:,} samples"]
    if training.steps is not None:
        words[0] += f" in {training.steps:,} steps" + (f" of {training.batch}" if training.batch else "")
    phases = ", ".join(f"{name} {minutes(seconds)}" for name, seconds in training.seconds_by_phase.items())
    words.append(minutes(training.seconds) + (f" ({phases})" if len(training.seconds_by_phase) > 1 else ""))
    words += [f"{training.waiting_share:.0%} waiting for data"] if training.waiting_share is not None else []
    words += filter(None, (training.device, training.precision))
    words += [f"{training.processes} processes"] if training.processes > 1 else []
    words += [counted(training.threads, "thread")] if training.threads else []
    return ", ".join(words + ([f"{training.macs:.3g} MACs"] if training.macs is not None else []))


def accuracy_csv(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    """A row per metric, in plain units."""
    rows = []
    for evaluation in evaluations:
        content = evaluation.model_dump(mode="json", by_alias=True, exclude={"accuracy", "training", "machine"})
        training = evaluation.training.model_dump(mode="json") if evaluation.training else {}
        cell = cells.get(evaluation.spec_hash)
        latency = timed(cell) if cell else None
        costs = {"latency_ms": latency.median if latency else None, "macs": cell.macs if cell else None}
        for metric in evaluation.accuracy.metrics:
            value = {"metric": metric.name, "value": metric.value, "ci95": metric.ci95, "n": metric.n}
            task = {"task": evaluation.accuracy.task, "split": evaluation.accuracy.split}
            rows.append(content | task | value | {"training": training} | costs)
    return to_csv(rows)


def accuracy_json(evaluations: Sequence[Evaluation], cells: Cells) -> str:
    """A list of the lines of evaluations.jsonl, each with its line of cells.jsonl, without samples."""
    content = []
    for evaluation in evaluations:
        cell = cells.get(evaluation.spec_hash)
        measured = (
            cell.model_dump(mode="json", by_alias=True, exclude={"restarts", "accuracy", "training"}) if cell else None
        )
        content.append(evaluation.model_dump(mode="json", by_alias=True) | {"cell": measured})
    return to_json(content)

"""Accuracy as tables: next to the latency of the same model and to blind baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vlbench.report import frontier
from vlbench.report.tables import GMACS, INTERVAL, LATENCY, PARAMS, timed
from vlbench.runner.execution import Execution, evaluated_execution, execution_of, is_reference
from vlbench.runner.records import Accuracy, Conversion, Evaluation, Result, Training, minutes
from vlbench.tables.numbers import bracketed, counted, ends, percent
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_csv, to_json
from vlbench.tasks.items import Metric, PairedDifference
from vlbench.tasks.registry import TASKS

Cells = Mapping[Execution, Result]  # by what they share with an evaluation
BLIND = {"majority": "majority", "text_only": "text only", "shuffled_images": "shuffled images"}  # by field


def joined(results: Sequence[Result], evaluations: Sequence[Evaluation]) -> list[Result]:
    """Each result with the accuracy and training of its model; a model with several accuracies has one for each."""
    rows: list[Result] = []
    of_execution: dict[Execution, list[Evaluation]] = {}
    for evaluation in evaluations:
        of_execution.setdefault(execution_of(evaluation), []).append(evaluation)
    for result in results:
        execution = evaluated_execution(result, of_execution)
        of_model = of_execution[execution] if execution else []
        rows += [
            result.model_copy(update={"accuracy": evaluation.marked_accuracy, "training": evaluation.training})
            for evaluation in of_model
        ] or [result]
    return rows


def accuracy_tables(evaluations: Sequence[Evaluation], cells: Cells) -> list[Table]:
    """A row per model, backend and precision with its first metric; then, if a model has several, a row per metric."""
    first = Table.of(_columns(evaluations, cells), evaluations)
    return [first, _metric_table(evaluations), Table(notes=tuple(notes(evaluations, cells)))]


def _columns(evaluations: Sequence[Evaluation], cells: Cells) -> list[TableColumn[Any]]:
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

    def difference(name: str, get: Any, write: Any) -> TableColumn[Any]:
        return TableColumn[PairedDifference](name, get, write).of(lambda evaluation: evaluation.difference)

    plain = all(map(_is_reference, evaluations))
    columns: list[TableColumn[Any]] = [
        TableColumn("model", lambda evaluation: evaluation.model),
        TableColumn("backend", lambda evaluation: None if plain else evaluation.backend),
        TableColumn("precision", lambda evaluation: None if plain else evaluation.precision),
        TableColumn(
            "weights",
            _weights,
        ),
        TableColumn("trained", lambda evaluation: evaluation.training and evaluation.training.in_words()),
        accuracy("metric", "metric", None),
        accuracy("n", "n", "{:,}".format),
        accuracy("%", "value"),
        accuracy("95% interval", "ci95", ends(percent)),
        difference("difference to eager fp32", lambda some: (some.value, some.ci95), _difference),
        difference("changed", lambda some: some.changed, "{:,}".format),
        majority("majority", of_accuracy=True),
        majority("chance", of_accuracy=False),
        *(accuracy(BLIND[field], field) for field in ("text_only", "shuffled_images")),
    ]
    measured = (LATENCY, replace(INTERVAL, name="latency 95%"), GMACS, PARAMS)
    return columns + [column.of(lambda evaluation: cells.get(execution_of(evaluation))) for column in measured]


def by_execution(results: Sequence[Result]) -> Cells:
    """The latest measurement of each model, backend and precision."""
    return {execution_of(result): result for result in results}


def _is_reference(evaluation: Evaluation) -> bool:
    return is_reference(evaluation.backend, evaluation.precision)


def _name(evaluation: Evaluation) -> str:
    """`vilt-b32`, `vilt-b32, onnxruntime int8`"""
    return f"{evaluation.model}{'' if _is_reference(evaluation) else f', {evaluation.backend} {evaluation.precision}'}"


def _difference(difference: tuple[float, tuple[float, float] | None]) -> str:
    """`-0.4 [-0.9, +0.1]`, in points"""
    return bracketed(*difference, lambda value: f"{100 * value:+.1f}".replace("-0.0", "+0.0"))


def _weights(evaluation: Evaluation) -> str:
    """Where they come from, and which parts they leave random."""
    source = evaluation.weights if evaluation.weights.startswith("hub:") else Path(evaluation.weights).name
    return source if evaluation.weights == "random" else ", ".join(filter(None, (source, evaluation.untrained)))


def _metric_table(evaluations: Sequence[Evaluation]) -> Table:
    """A row per metric, a column per model: in eager PyTorch and fp32 if there is that, else as it was first
    evaluated."""
    shown: dict[str, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda some: not _is_reference(some)):
        shown.setdefault(evaluation.model, evaluation)
    by_model = {
        _name(evaluation): {metric.name: metric for metric in evaluation.accuracy.metrics}
        for evaluation in evaluations
        if shown[evaluation.model] is evaluation and len(evaluation.accuracy.metrics) > 1
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
        lines += [f"{evaluation.model}: {line}" for line in _weight_notes(evaluation)]
        cell = cells.get(execution_of(evaluation))
        lines += [f"{_name(evaluation)}: {line}" for line in _run_notes(evaluation, cell)]
    return list(dict.fromkeys(lines)) + frontier.lines(cells.values(), evaluations)


def _weight_notes(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.weights == "random":
        yield f"random weights; --weights {evaluation.model}=PATH or hub:OWNER/NAME loads others"
    if evaluation.training:
        yield _training(evaluation.training)
    if evaluation.missing_keys:
        others = f" and {len(evaluation.missing_keys) - 1} more" if len(evaluation.missing_keys) > 1 else ""
        yield f"its weights lack {evaluation.missing_keys[0]}{others}, left random"
    if evaluation.detector_weights == "random":
        yield f"its detector has random weights; --features FILE, or --weights {evaluation.model}.visual=PATH"


def _run_notes(evaluation: Evaluation, cell: Result | None) -> Iterator[str]:
    if evaluation.conversion:
        yield from _conversion(evaluation.conversion)
    if cell is not None and cell.status != "ok":
        yield f"latency {cell.status}: {cell.error}"
    passes = f"{evaluation.passes:,} passes in {minutes(evaluation.seconds)}"
    settings = f"batch {evaluation.batch}, {evaluation.device}, {evaluation.precision}"
    yield f"{passes}, {settings}; predictions: {evaluation.predictions}"


def _conversion(conversion: Conversion) -> Iterator[str]:
    """How far its outputs are from those of eager PyTorch, and what was not converted."""
    equality = conversion.equality
    if equality and equality.largest is not None:
        largest, mean = (f"{share:.2g}" for share in (equality.largest, equality.mean))
        yield (
            f"outputs differ from eager PyTorch's by at most {largest} of its largest value, {mean} on average, on "
            f"{counted(equality.inputs, 'input')}; {equality.tolerance:g} is allowed"
        )
    for reason, names in conversion.stages_by_reason.items():
        yield f"{', '.join(names)} in eager PyTorch: {reason}"


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
        cell = cells.get(execution_of(evaluation))
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
        cell = cells.get(execution_of(evaluation))
        measured = (
            cell.model_dump(mode="json", by_alias=True, exclude={"restarts", "accuracy", "training"}) if cell else None
        )
        content.append(evaluation.model_dump(mode="json", by_alias=True) | {"cell": measured})
    return to_json(content)

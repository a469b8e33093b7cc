"""Measured models as tables: one row per measurement, its stages, what was converted, and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from textwrap import indent
from typing import Any

from vlbench.measuring.statistics import LatencySummary
from vlbench.report.conversion_table import conversion_table, flat_conversion
from vlbench.report.efficiency import (
    NO_ROOFS,
    Efficiency,
    Roofs,
    efficiency,
    efficiency_columns,
    highest_peaks,
)
from vlbench.report.labels import differs, image_words, token_words
from vlbench.report.notes import notes
from vlbench.runner.execution import in_order
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Accuracy, Result
from vlbench.tables.numbers import any_number, bracketed, ends, percent, scaled
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import model_to_json, to_csv

Estimate = tuple[float, float | None, float | None]  # a value and the ends of its interval


def timed(result: Result) -> LatencySummary | None:
    return result.latency_ms if result.status == "ok" else None


def estimate(value: float | None, interval: Sequence[float | None] | None) -> Estimate | None:
    low, high = interval or (None, None)
    return None if value is None else (value, low, high)


def estimated(write: Callable[[float], str]) -> Callable[[Estimate | str], str]:
    """Writes estimates as `1,255 [1,118, 1,622]`, and text as it is."""
    return lambda value: value if isinstance(value, str) else bracketed(value[0], value[1:], write)


def _latency(result: Result) -> Estimate | str | None:
    """Its status if it failed."""
    latency = timed(result)
    return estimate(latency.median, latency.ci95) if latency else None if result.status == "ok" else result.status


def _accuracy(accuracy: Accuracy) -> str:
    """`57.1% easy-vqa test`"""
    metric = "" if accuracy.metric == "accuracy" else f"{accuracy.metric}, "
    mark = f" ({accuracy.untrained})" if accuracy.untrained else ""
    return f"{percent(accuracy.value)}% {metric}{accuracy.task} {accuracy.split}{mark}"


def estimated_accuracy(accuracy: Accuracy) -> Estimate | str | None:
    """With its interval; in words if something of the model has random weights."""
    if accuracy.untrained:
        return f"{bracketed(accuracy.value, accuracy.ci95, percent)} ({accuracy.untrained})"
    return estimate(accuracy.value, accuracy.ci95)


millions, billions = scaled(1e6, 1), scaled(1e9, 1)
MODEL = TableColumn[Result]("model", lambda result: result.model)
FAMILY = TableColumn[Result]("family", lambda result: result.family, shown="wide")
IMAGE = TableColumn[Result]("image", image_words, shown="wide")
TOKENS = TableColumn[Result]("tokens", token_words, shown="wide")
PARAMS = TableColumn[Result]("params M", lambda result: result.params_total, millions, latex="parameters (M)")
TRAINABLE = TableColumn[Result]("trainable M", lambda result: result.params_trainable, millions, shown="files")
GMACS = TableColumn[Result]("GMACs", lambda result: result.macs, billions, latex="MACs (G)")
GFLOPS = TableColumn[Result]("GFLOPs", lambda result: result.flops, billions, shown="files")
PEAK = TableColumn[Result](
    "peak MiB", lambda result: result.peak_memory_bytes, scaled(2**20, 0), latex="peak memory (MiB)"
)
LATENCY = TableColumn[LatencySummary]("latency ms", lambda latency: latency.median, any_number).of(timed)
INTERVAL = TableColumn[LatencySummary]("95% interval", lambda latency: latency.ci95, ends()).of(timed)
BRACKETED = TableColumn[Result]("latency ms (95%)", _latency, estimated(any_number), latex="latency (ms)")
INPUT = TableColumn[Result](
    "input", lambda result: result.input_ms and result.input_ms.median, any_number, shown="wide"
)
RESTARTS = TableColumn[LatencySummary]("restarts", lambda latency: len(latency.by_restart), str, shown="wide").of(timed)
NOISE = TableColumn[Result]("noise", lambda result: result.noise and result.noise.verdict)
ACCURACY = TableColumn[Result]("accuracy", lambda result: result.accuracy and _accuracy(result.accuracy))
TRAINED = TableColumn[Result]("trained", lambda result: result.training and result.training.in_words())
EXECUTED = (
    TableColumn[Result]("backend", lambda result: result.backend),
    TableColumn[Result]("precision", lambda result: result.precision),
    TableColumn[Result]("scope", lambda result: result.scope),
)
SUMMARY: tuple[TableColumn[Result], ...] = (
    *(FAMILY, IMAGE, TOKENS, PARAMS, TRAINABLE, GMACS, GFLOPS, PEAK),
    *(LATENCY, INTERVAL, RESTARTS),
)


def summary_table(results: Sequence[Result], roofs: Roofs = NO_ROOFS) -> Table:
    """One row per result: counts, memory, latency, and how well it uses the machine."""
    columns = (MODEL, *executed_columns(results), *SUMMARY, *efficiency_columns(roofs), NOISE, ACCURACY, TRAINED)
    return Table.of(columns, results)


def executed_columns(results: Sequence[Result]) -> Iterator[TableColumn[Result]]:
    """Backend, precision and scope; a terminal shows those in which results differ."""
    for column in EXECUTED:
        yield replace(column, shown="always" if differs(results, column.name) else "files")


def stage_columns(results: Sequence[Result]) -> Iterator[TableColumn[Result]]:
    """Median milliseconds of each stage and of each step within `visual`, in the order of the forward pass; last what
    preparing an example takes before it."""
    for name in merged_order([list(result.latency_ms_by_stage or {}) for result in results]):
        if name != "total":
            column = _stage_column(name.replace("visual.", "."), name)
            yield replace(column, shown="wide") if name == "rest" else column
    yield replace(_stage_column("staged total", "total"), shown="wide")
    yield replace(LATENCY, name="end to end")
    if any(result.input_ms for result in results):
        yield INPUT


def _stage_column(heading: str, stage: str) -> TableColumn[Any]:
    median = TableColumn[LatencySummary](heading, lambda latency: latency.median, any_number)
    return median.of(lambda result: (result.latency_ms_by_stage or {}).get(stage))


def stage_table(results: Sequence[Result]) -> Table:
    """One row per result that has stages."""
    staged = [result for result in results if result.latency_ms_by_stage]
    executed = (column for column in executed_columns(staged) if column.shown == "always")
    columns = (MODEL, *executed, *stage_columns(staged))
    return Table.of(columns, staged, caption="Median ms by stage" if staged else "")


def merged_order(sequences: Sequence[Sequence[str]]) -> list[str]:
    """Every name once; a name that only some sequences have stands before what follows it there."""
    order: list[str] = []
    for sequence in sequences:
        index = len(order)
        for name in reversed(sequence):
            if name in order:
                index = order.index(name)
            else:
                order.insert(index, name)
    return order


def result_tables(results: Sequence[Result], more: Sequence[str] = (), peaks: Iterable[Peaks] = ()) -> list[Table]:
    """The summary, the stages, the conversions, and notes; `more` are further notes, `peaks` those of the machines."""
    ordered = in_order(results)
    measured = [summary_table(ordered, highest_peaks(peaks)), stage_table(ordered), conversion_table(ordered)]
    return [*measured, Table(notes=(*notes(ordered), *more))]


def results_csv(results: Sequence[Result], peaks: Iterable[Peaks] = ()) -> str:
    """Every value in plain units under the names of cells.jsonl, without the samples; and those of `Efficiency`."""
    roofs = highest_peaks(peaks)
    return to_csv(_plain_values(result, roofs) for result in results)


def _plain_values(result: Result, roofs: Roofs) -> dict[str, Any]:
    """The machine last. What only some results have is a column only then."""
    content = result.model_dump(
        mode="json", by_alias=True, exclude={"restarts": True, "accuracy": {"metrics", "baselines"}}
    )
    content |= asdict(efficiency(result, roofs))
    shown = {name: value for name, value in content.items() if value is not None or name not in OPTIONAL}
    if result.conversion:
        shown["conversion"] |= flat_conversion(result.conversion)
    return shown | {"image_size": image_words(result), "machine": shown.pop("machine")}


OPTIONAL = {"accuracy", "training", "l2", "launch", "unknown_operators", "input_ms", "scope", "conversion"}
OPTIONAL |= set(Efficiency.__dataclass_fields__)


def results_json(results: Iterable[Result]) -> Iterator[str]:
    """A list of the lines of cells.jsonl, samples included, in pieces: a result each."""
    yield "["
    for number, result in enumerate(results):
        yield (",\n" if number else "\n") + indent(model_to_json(result).rstrip(), " ")
    yield "\n]\n"

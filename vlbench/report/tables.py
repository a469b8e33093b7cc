"""Measured models as tables: one row per measurement, its stages, and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from textwrap import indent
from typing import Any

from vlbench.measuring.statistics import LEAST_RESTARTS, LatencySummary
from vlbench.report.efficiency import (
    NO_ROOFS,
    Efficiency,
    Roofs,
    efficiency,
    efficiency_columns,
    gpu_cautions,
    highest_peaks,
)
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import Accuracy, Result
from vlbench.tables.numbers import any_number, bracketed, counted, ends, percent, scaled
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


def image_words(result: Result) -> str | None:
    """Height and width in pixels: `384x640`; None for a model that reads no image."""
    return "x".join(map(str, result.image_size)) if any(result.image_size) else None


def token_words(result: Result) -> str | None:
    """Text and image tokens: `40+1,344`; None for a model that reads no text and whose tokens are unknown."""
    if not result.text_tokens and result.image_tokens is None:
        return None
    return f"{result.text_tokens:,}+{'?' if result.image_tokens is None else f'{result.image_tokens:,}'}"


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
INPUT = TableColumn[Result]("input", lambda result: result.input_ms and result.input_ms.median, any_number)
RESTARTS = TableColumn[LatencySummary]("restarts", lambda latency: len(latency.by_restart), str, shown="wide").of(timed)
NOISE = TableColumn[Result]("noise", lambda result: result.noise and result.noise.verdict)
ACCURACY = TableColumn[Result]("accuracy", lambda result: result.accuracy and _accuracy(result.accuracy))
TRAINED = TableColumn[Result]("trained", lambda result: result.training and result.training.in_words())
SUMMARY: tuple[TableColumn[Result], ...] = (
    *(MODEL, FAMILY, IMAGE, TOKENS, PARAMS, TRAINABLE, GMACS, GFLOPS, PEAK),
    *(LATENCY, INTERVAL, RESTARTS),
)


def summary_table(results: Sequence[Result], roofs: Roofs = NO_ROOFS) -> Table:
    """One row per result: counts, memory, latency, and how well it uses the machine."""
    return Table.of((*SUMMARY, *efficiency_columns(roofs), NOISE, ACCURACY, TRAINED), results)


def stage_columns(results: Sequence[Result]) -> Iterator[TableColumn[Result]]:
    """Median milliseconds of each stage and of each step within `visual`, in the order of the forward pass; last what
    preparing an example takes before it."""
    for name in merged_order([list(result.latency_ms_by_stage or {}) for result in results]):
        if name != "total":
            yield _stage_column(name.replace("visual.", "."), name)
    yield _stage_column("staged total", "total")
    yield replace(LATENCY, name="end to end")
    if any(result.input_ms for result in results):
        yield INPUT


def _stage_column(heading: str, stage: str) -> TableColumn[Any]:
    median = TableColumn[LatencySummary](heading, lambda latency: latency.median, any_number)
    return median.of(lambda result: (result.latency_ms_by_stage or {}).get(stage))


def stage_table(results: Sequence[Result]) -> Table:
    """One row per result that has stages."""
    staged = [result for result in results if result.latency_ms_by_stage]
    return Table.of((MODEL, *stage_columns(staged)), staged, caption="Median ms by stage" if staged else "")


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
    """The summary, the stages, and notes; `more` are further notes, `peaks` those of the machines."""
    return [summary_table(results, highest_peaks(peaks)), stage_table(results), Table(notes=(*notes(results), *more))]


def notes(results: Sequence[Result]) -> list[str]:
    """The machine, settings, weights and load; then, per model, errors and cautions."""
    lines = [f"Machine: {words}" for words in dict.fromkeys(result.machine.in_words() for result in results)]
    lines += [f"Settings: {words}" for words in dict.fromkeys(map(_setting_words, results))]
    weights = sorted({result.weights for result in results})
    lines.append(f"Weights: {', '.join(weights)}" + (f" ({RANDOM_WEIGHTS})" if weights == ["random"] else ""))
    if any((latency := timed(result)) and len(latency.by_restart) < LEAST_RESTARTS for result in results):
        lines.append(f"Interval: none, as a 95% interval of the median needs {LEAST_RESTARTS} restarts")
    for result in results:
        if result.status == "ok" and result.detector_load:
            load = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in result.detector_load.items())
            lines.append(f"Load of {result.model}, an image: {load}")
        if result.status != "ok":
            lines.append(f"{result.model}: {result.status}: {result.error}")
        lines += [f"{result.model}: {reason}" for reason in cautions(result)]
    return lines


def _setting_words(result: Result) -> str:
    """`cuda, fp16, eager, batch 8, L2 warm`"""
    l2 = f", L2 {result.l2}" if result.l2 else ""
    return f"{result.device}, {result.precision}, {result.backend}, batch {result.batch}{l2}"


RANDOM_WEIGHTS = "the latency is valid, the accuracy is not"


def cautions(result: Result) -> list[str]:
    """What to know before a latency is trusted: its noise, its warm-up, and what held a GPU back."""
    noise = result.noise
    reasons = [f"{noise.verdict}: {reason}" for reason in noise.reasons] if noise else []
    unsettled = sum(not restart.warm_up.steady for restart in result.restarts)
    if unsettled:
        reasons.append(f"warm-up had not settled in {unsettled} of {len(result.restarts)} restarts")
    for name, calls in (result.unknown_operators or {}).items():
        reasons.append(f"MACs lack {counted(calls, 'call')} of {name}, whose MACs are not known")
    return [*reasons, *gpu_cautions(result)]


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
    return shown | {"image_size": image_words(result), "machine": shown.pop("machine")}


OPTIONAL = {"accuracy", "training", "l2", "launch", "unknown_operators", "input_ms", *Efficiency.__dataclass_fields__}


def results_json(results: Iterable[Result]) -> Iterator[str]:
    """A list of the lines of cells.jsonl, samples included, in pieces: a result each."""
    yield "["
    for number, result in enumerate(results):
        yield (",\n" if number else "\n") + indent(model_to_json(result).rstrip(), " ")
    yield "\n]\n"

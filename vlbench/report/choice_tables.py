"""The choice of a model for a budget as tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from operator import attrgetter
from shlex import quote
from typing import Any

from vlbench.report.choosing import Choice, RankedModel
from vlbench.report.tables import BRACKETED, NOISE, PARAMS, PEAK, estimate, estimated, estimated_accuracy
from vlbench.runner.backends import BACKENDS
from vlbench.runner.execution import runtime_of
from vlbench.runner.records import Result
from vlbench.tables.numbers import percent, short_number
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_json


def choice_tables(choice: Choice) -> list[Table]:
    """The models that meet the budget, surely or perhaps, best first; the conclusion; the others, and why; notes."""
    return [
        Table.of(_columns(choice), choice.meeting),
        Table(
            caption=sentence(choice), style="bold", heading="**{}**", notes=tuple(next_steps(choice)), notes_style=""
        ),
        Table(notes=tuple(other_lines(choice)), notes_style=""),
        Table(caption="Machine and notes", style=None, folded=True, notes=choice.notes),
    ]


def _columns(choice: Choice) -> list[TableColumn[Any]]:
    def share_of(kind: str) -> Any:
        return lambda model: next((judged.share for judged in model.judged if judged.of == kind), None)

    several = len({model.folder for model in choice.candidates}) > 1
    result = attrgetter("result")
    columns: list[TableColumn[Any]] = [
        TableColumn("rank", lambda model: model.rank, str),
        TableColumn("model", lambda model: model.cell),
        TableColumn("folder", lambda model: model.folder if several else None),
        TableColumn("meets", lambda model: model.meets),
        BRACKETED.of(result),
        TableColumn("of the time", share_of("latency"), _share),
        TableColumn("of the memory", share_of("memory"), _share),
        PEAK.of(result),
        PARAMS.of(result),
    ]
    if choice.key:
        accuracy = TableColumn[Any](f"{' '.join(choice.key)} %", _accuracy, estimated(percent))
        columns += [accuracy, TableColumn("frontier", lambda model: model.frontier)]
    return [*columns, NOISE.of(result)]


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _accuracy(model: RankedModel) -> Any:
    return model.accuracy and estimated_accuracy(model.accuracy)


def sentence(choice: Choice) -> str:
    """The best model, or else the nearest."""
    words, best = choice.budget.in_words(), choice.best
    if best:
        is_quickest = choice.ranked_by == "latency" and math.isfinite(best.latency_ms)
        why = ", the quickest of those that meet it" if is_quickest else ""
        return f"Best within {words}: {best.cell} ({_numbers(best)}){why}."
    if choice.meeting:
        first = choice.meeting[0]
        is_timed = any(judged.of == "latency" and judged.meets == "perhaps" for judged in first.judged)
        more = (
            f" vlbench run --models {first.result.model} --within 1% --out NEW narrows the interval."
            if is_timed
            else ""
        )
        reasons = "; ".join(first.reasons)
        return f"None is sure to be within {words}; perhaps {first.cell} ({_numbers(first)}): {reasons}.{more}"
    nearest = next((model for model in choice.others if model.meets == "no"), None)
    if nearest:
        return f"None is within {words}. Nearest is {nearest.cell}: {'; '.join(nearest.reasons)}."
    return f"Whether any is within {words} is unknown."


def next_steps(choice: Choice) -> Iterator[str]:
    """What the model of the conclusion needs installed, and how it is exported if its backend writes files."""
    if command := choice.named and install_command(choice.named.result):
        yield f"It needs: {command}"
    if command := choice.named and export_command(choice.named.result):
        yield f"Export it: {command}"


def install_command(result: Result) -> str | None:
    """`pip install 'vlbench[openvino,int8]'`; None if vlbench alone is enough."""
    backend = BACKENDS.get(runtime_of(result))
    extras = backend.requirements(result.precision) if backend else ()
    return f"pip install 'vlbench[{','.join(extras)}]'" if extras else None


def export_command(result: Result) -> str | None:
    """What writes the converted model into a folder; None of a backend that converts into no files."""
    backend = BACKENDS.get(runtime_of(result))
    if not backend or not backend.extra:
        return None
    model, has_source = result.model, result.weights != "random" and ", " not in result.weights
    weights = [f"--weights {quote(f'{model}={result.weights}')}"] if has_source else []
    settings = (f"--backend {runtime_of(result)}", f"--precision {result.precision}", "-o DIR")
    return " ".join(["vlbench export model", quote(model), *weights, *settings])


def _numbers(model: RankedModel) -> str:
    """`88.9% [88.2, 89.5], 2.25 ms [2.19, 2.60], 48 MiB`"""
    latency = model.result.latency_ms
    estimates = (
        (_accuracy(model), "%", percent),
        (latency and estimate(latency.median, latency.ci95), " ms", short_number),
    )
    parts = [_with_unit(value, unit, write) for value, unit, write in estimates if value]
    peak = PEAK.get(model.result)
    parts += [f"{PEAK.text(peak)} MiB"] if peak else []
    return ", ".join([*parts, *([model.result.contended] if model.result.contended else [])])


def _with_unit(value: Any, unit: str, write: Any) -> str:
    number, _, interval = estimated(write)(value).partition(" ")
    return f"{number}{unit} {interval}".strip()


def other_lines(choice: Choice) -> Sequence[str]:
    """The models that do not meet the budget, nearest first, and why; then those for which that is unknown."""
    verdicts = {"no": "does not meet it", "unknown": "unknown"}
    return [f"{model.cell}: {verdicts[model.meets]}: {'; '.join(model.reasons)}" for model in choice.others]


def choice_json(choice: Choice) -> str:
    """All of it in plain units; null for what is unknown."""
    key = choice.key
    return to_json(
        {
            "budget": {
                "latency_ms": choice.budget.latency_ms,
                "memory_bytes": choice.budget.memory_gb and round(choice.budget.memory_gb * 10**9),
                "accuracy": choice.budget.accuracy,
            },
            "machine": choice.machine.model_dump(mode="json"),
            "this_machine": choice.here,
            "task": dict(zip(("task", "split", "metric"), key, strict=True)) if key else None,
            "ranked_by": choice.ranked_by,
            "best": choice.best.cell if choice.best else None,
            "sentence": sentence(choice),
            "install": choice.named and install_command(choice.named.result),
            "export": choice.named and export_command(choice.named.result),
            "candidates": [_content(model) for model in choice.candidates],
            "notes": list(choice.notes),
        }
    )


def _content(model: RankedModel) -> dict[str, Any]:
    result, latency, accuracy = model.result, model.result.latency_ms, model.accuracy
    settings = (
        "device",
        "precision",
        "backend",
        "scope",
        "batch",
        "weights",
        "status",
        "error",
        "spec_hash",
        "cell_hash",
    )
    return {
        **{
            "rank": model.rank,
            "cell": model.cell,
            "model": result.model,
            "family": result.family,
            "folder": model.folder,
        },
        **{"meets": model.meets, "reasons": list(model.reasons)},
        "latency_ms": latency.median if latency and result.status == "ok" else None,
        "latency_ms_ci95": latency.ci95 if latency else None,
        "share_of_budget": {judged.of: judged.share for judged in model.judged if judged.share is not None},
        "peak_memory_bytes": result.peak_memory_bytes,
        **{"params_total": result.params_total, "macs": result.macs},
        "accuracy": accuracy.value if accuracy else None,
        "accuracy_ci95": accuracy.ci95 if accuracy else None,
        "frontier": model.frontier,
        "noise": result.noise.model_dump(mode="json") if result.noise else None,
        **{name: getattr(result, name) for name in settings},
        **{"threads": result.machine.threads, "torch": result.machine.torch, "measured_at": result.measured_at},
    }

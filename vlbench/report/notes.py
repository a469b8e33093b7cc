"""Notes below tables of measurements: what all share, then what to know of some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vlbench.measuring.statistics import LEAST_RESTARTS
from vlbench.report.conversion_table import eager_stage_notes
from vlbench.report.efficiency import gpu_cautions
from vlbench.report.labels import SETTINGS, cell_names, differs
from vlbench.runner.records import Result
from vlbench.tables.numbers import counted

RANDOM_WEIGHTS = "the latency is valid, the accuracy is not"


def notes(results: Sequence[Result]) -> list[str]:
    """The machine, settings, runtimes, weights and load; then errors and cautions, each once, after the names of the
    measurements that it is of."""
    lines = [f"Machine: {words}" for words in dict.fromkeys(result.machine.in_words() for result in results)]
    lines += [f"Settings: {words}" for words in _setting_words(results)]
    runtimes = sorted({result.conversion.runtime or "" for result in results if result.conversion} - {""})
    lines += [f"Runtimes: {', '.join(runtimes)}"] if runtimes else []
    weights = sorted({result.weights for result in results})
    lines.append(f"Weights: {', '.join(weights)}" + (f" ({RANDOM_WEIGHTS})" if weights == ["random"] else ""))
    summaries = [result.latency_ms for result in results if result.status == "ok" and result.latency_ms]
    if any(len(latency.by_restart) < LEAST_RESTARTS for latency in summaries):
        lines.append(f"Interval: none, as a 95% interval of the median needs {LEAST_RESTARTS} restarts")
    return [
        *lines,
        *merged_notes(results, _load, "Load of {}, an image: {}"),
        *eager_stage_notes(results),
        *merged_notes(results, _troubles),
    ]


def _setting_words(results: Sequence[Result]) -> list[str]:
    """`cuda, fp16, eager, batch 8, L2 warm`; without a backend or precision that the rows name."""
    named = [name for name in ("precision", "backend") if not differs(results, name)]
    lines = []
    for result in results:
        l2 = f", L2 {result.l2}" if result.l2 else ""
        words = [result.device, *(getattr(result, name) for name in named), f"batch {result.batch}"]
        lines.append(", ".join(words) + l2)
    return list(dict.fromkeys(lines))


def merged_notes(
    results: Sequence[Result], lines_of: Callable[[Result], Sequence[str]], form: str = "{}: {}"
) -> Iterator[str]:
    """Each line once, after the names of its measurements, or of the models all of whose measurements have it; `form`
    joins the two."""
    unique = list({_identity(result): result for result in results}.values())
    cells: dict[str, list[str]] = {}
    by_line: dict[str, dict[str, list[str]]] = {}
    for name, result in zip(cell_names(unique), unique, strict=True):
        cells.setdefault(result.model, []).append(name)
        for line in dict.fromkeys(lines_of(result)):
            by_line.setdefault(line, {}).setdefault(result.model, []).append(name)
    for line, names_by_model in by_line.items():
        words = [
            model if len(names) == len(cells[model]) else _listed(model, names)
            for model, names in names_by_model.items()
        ]
        yield form.format("; ".join(words), line)


def _listed(model: str, names: Sequence[str]) -> str:
    """`vilt-b32, eager, fp32`; `vilt-b32 (eager, fp32; openvino, int8)` of several."""
    return names[0] if len(names) == 1 else f"{model} ({'; '.join(name.removeprefix(f'{model}, ') for name in names)})"


def _identity(result: Result) -> tuple[str, ...]:
    """Of a measurement, which is several rows if its model has several accuracies."""
    return result.model, result.cell_hash, result.measured_at, *(setting(result) for setting in SETTINGS.values())


def _load(result: Result) -> list[str]:
    if result.status != "ok" or not result.detector_load:
        return []
    load = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in result.detector_load.items())
    return [load]


def _troubles(result: Result) -> list[str]:
    return [*([f"{result.status}: {result.error}"] if result.status != "ok" else []), *cautions(result)]


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

"""Results as tables: for a terminal, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.markup import comments, escape_latex
from vlbench.measure.statistics import LatencySummary
from vlbench.runner.records import Accuracy, Result

WORDS = {"model", "row", "family", "image", "tokens", "verdict", "noise", "claim", "expression"}  # columns of words
WORDS |= {"weights", "metric", "accuracy", "trained", "arm", "sign", "folder", "cell", "task", "split", "suite"}
WORDS |= {"quantity", "unit", "where", "erratum", "meets", "frontier", "why"}

GAP = "-"


def summary_frame(results: Sequence[Result]) -> pd.DataFrame:
    """One row a model: counts, memory, latency. Missing figures are None."""
    frame = pd.DataFrame([_summary_row(result) for result in results], dtype=object)
    absent = [name for name in ("accuracy", "training") if not any(getattr(result, name) for result in results)]
    return frame.drop(columns=absent, errors="ignore").rename(columns={"training": "trained"})


def _summary_row(result: Result) -> dict[str, object]:
    row: dict[str, object] = {
        "model": result.model,
        "family": result.family,
        "image": "x".join(map(str, result.image_size)),
        "tokens": f"{result.text_tokens}+{result.image_tokens if result.image_tokens is not None else '?'}",
        "params M": scaled(result.params_total, 1e6, 1),
        "trainable M": scaled(result.params_trainable, 1e6, 1),
        "GMACs": scaled(result.macs, 1e9, 1),
        "GFLOPs": scaled(result.flops, 1e9, 1),
        "peak MiB": scaled(result.peak_memory_bytes, 2**20, 0),
    }
    latency = result.latency_ms if result.status == "ok" else None
    return row | {
        "latency ms": _milliseconds(latency),
        "95% interval": _interval(latency),
        "restarts": str(len(latency.by_restart)) if latency else None,
        "noise": result.noise.verdict if result.noise else None,
        "accuracy": _accuracy(result.accuracy),
        "training": result.training.in_words() if result.training else None,
    }


def _accuracy(accuracy: Accuracy | None) -> str | None:
    """`57.1% easy-vqa test`"""
    if accuracy is None:
        return None
    metric = "" if accuracy.metric == "accuracy" else f"{accuracy.metric}, "
    return f"{percent(accuracy.value)}% {metric}{accuracy.task} {accuracy.split}"


def percent(value: float | None) -> str:
    """Without its sign; nothing for what there is none of."""
    return "" if value is None else f"{100 * value:.1f}"


def stage_frame(results: Sequence[Result]) -> pd.DataFrame:
    """One row a model: median milliseconds of each stage and of each step within `visual`."""
    rows = []
    order = merged_order([list(result.latency_ms_by_stage or {}) for result in results])
    for result in results:
        stages = result.latency_ms_by_stage or {}
        row: dict[str, object] = {"model": result.model}
        row |= {name.replace("visual.", "."): _milliseconds(stages.get(name)) for name in order if name != "total"}
        rows.append(
            row | {"staged total": _milliseconds(stages.get("total")), "end to end": _milliseconds(result.latency_ms)}
        )
    frame = pd.DataFrame(rows, dtype=object)
    return frame.dropna(axis="columns", how="all")


def merged_order(sequences: Sequence[Sequence[str]]) -> list[str]:
    """Every name once; a name that only some sequences have stands before what follows it there."""
    order: list[str] = []
    for sequence in sequences:
        place = len(order)
        for name in reversed(sequence):
            if name in order:
                place = order.index(name)
            else:
                order.insert(place, name)
    return order


def flat_frame(results: Sequence[Result]) -> pd.DataFrame:
    """Every figure in plain units under the names of cells.jsonl, without the samples; for CSV."""
    return pd.DataFrame([_flat_row(result) for result in results]).convert_dtypes()  # integers stay so beside gaps


def _flat_row(result: Result) -> dict[str, object]:
    content = result.model_dump(
        mode="json", by_alias=True, exclude={"restarts": True, "accuracy": {"metrics", "baselines"}}
    )
    machine = content.pop("machine")
    for name in ("accuracy", "training"):
        if content[name] is None:
            del content[name]
    row: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            row |= flattened(key, value)
        elif isinstance(value, list):
            row[key] = "x".join(map(str, value))
        else:
            row[key] = value
    return row | flattened("machine", machine)


def flattened(prefix: str, content: dict) -> dict[str, object]:
    """`{"machine.cpu": ...}`; both ends of an interval."""
    row: dict[str, object] = {}
    for key, value in content.items():
        name = f"{prefix}.{key}"
        if key == "by_restart":
            continue
        if key == "ci95":
            row[f"{name}_low"], row[f"{name}_high"] = value or (None, None)
        elif isinstance(value, dict):
            row |= flattened(name, value)
        else:
            row[name] = value
    return row


def notes(results: Sequence[Result]) -> list[str]:
    """What must be known beside the figures: machine, weights, load, and every cell without a figure."""
    lines = [f"Machine: {words}" for words in dict.fromkeys(result.machine.in_words() for result in results)]
    settings = dict.fromkeys((r.device, r.precision, r.backend, r.batch) for r in results)
    lines += [f"Settings: {d}, {p}, {b}, batch {n}" for d, p, b, n in settings]
    weights = sorted({result.weights for result in results})
    lines.append(
        f"Weights: {', '.join(weights)}" + (" (latency is meant, not accuracy)" if weights == ["random"] else "")
    )
    for result in results:
        if result.status == "ok" and result.detector_load:
            carried = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in result.detector_load.items())
            lines.append(f"Load of {result.model}, an image: {carried}")
        if result.status != "ok":
            lines.append(f"{result.model}: {result.status}: {result.error}")
        lines += [f"{result.model}: {reason}" for reason in cautions(result)]
    return lines


def cautions(result: Result) -> list[str]:
    """What keeps a latency from being trusted."""
    noise = result.noise
    reasons = [f"{noise.verdict}: {reason}" for reason in noise.reasons] if noise else []
    unsettled = sum(not restart.warm_up.steady for restart in result.restarts)
    if unsettled:
        reasons.append(f"warm-up had not settled in {unsettled} of {len(result.restarts)} restarts")
    return reasons


def render(results: Sequence[Result], width: int | None = None, more: Sequence[str] = ()) -> RenderableType:
    """For a terminal of `width` columns: a model a row, or a model a column where only that fits; None: any width.

    `more` are further notes, here and in other formats that have some.
    """
    summary = summary_frame(results).drop(columns=["trainable M", "GFLOPs"])
    parts: list[RenderableType] = [rich_table(summary, width)]
    if any(result.latency_ms_by_stage for result in results):
        stages = stage_frame([result for result in results if result.latency_ms_by_stage])
        parts += [Text(""), Text("Median ms by stage", style="italic"), rich_table(stages, width)]
    return Group(*parts, Text(""), Text("\n".join([*notes(results), *more]), style="dim", overflow="fold"))


def markdown(results: Sequence[Result], more: Sequence[str] = ()) -> str:
    tables = [summary_frame(results), stage_frame([r for r in results if r.latency_ms_by_stage])]
    parts = [markdown_table(table) for table in tables if len(table)]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in [*notes(results), *more])]) + "\n"


def latex(results: Sequence[Result], more: Sequence[str] = ()) -> str:
    """booktabs tables; the notes follow as comments."""
    tables = [summary_frame(results), stage_frame([r for r in results if r.latency_ms_by_stage])]
    parts = [latex_table(table) for table in tables if len(table)]
    return "\n".join([*parts, comments([*notes(results), *more])]) + "\n"


def csv(results: Sequence[Result], _more: Sequence[str] = ()) -> str:
    return flat_frame(results).to_csv(index=False)


def as_json(results: Sequence[Result], _more: Sequence[str] = ()) -> str:
    """A list of result lines, samples included."""
    return json.dumps([result.model_dump(mode="json", by_alias=True) for result in results], indent=1) + "\n"


WRITERS = {"json": as_json, "csv": csv, "markdown": markdown, "latex": latex}


def rich_table(frame: pd.DataFrame, width: int | None) -> Table:
    frame = _filled(frame)
    if width is not None and natural_width(frame) > width:
        turned = frame.set_index(frame.columns[0]).T.rename_axis(None, axis="columns").reset_index(names="")
        frame = turned if natural_width(turned) <= width else frame
    table = Table(header_style="bold", box=None, pad_edge=False)
    for column in frame.columns:
        table.add_column(column, justify="left" if column in ("", *WORDS) else "right", no_wrap=True)
    for row in frame.itertuples(index=False):
        table.add_row(*map(str, row))
    return table


def natural_width(frame: pd.DataFrame) -> int:
    """Columns of a terminal that a table takes, two between each pair of its own."""
    widest = [max([len(str(name)), *(len(str(value)) for value in frame[name])]) for name in frame.columns]
    return sum(widest) + 2 * (len(widest) - 1)


def markdown_table(frame: pd.DataFrame) -> str:
    """Cells as they stand: what they hold may be Markdown."""
    sides = ["left" if name in WORDS else "right" for name in frame.columns]
    return _filled(frame).to_markdown(index=False, disable_numparse=True, colalign=sides)


def latex_table(frame: pd.DataFrame, write: Callable[[str], str] = escape_latex) -> str:
    """With the rules of booktabs; `write` makes LaTeX of what a cell says."""
    escaped = _filled(frame).rename(columns=escape_latex).map(lambda value: write(str(value)))
    alignment = "".join("l" if name in WORDS else "r" for name in frame.columns)
    lines = [" & ".join(row) + r" \\" for row in escaped.itertuples(index=False)]
    header = " & ".join(escaped.columns) + r" \\"
    body = "\n".join(lines)
    return (
        f"\\begin{{tabular}}{{{alignment}}}\n\\toprule\n{header}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _filled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), GAP)


def counted(count: int, thing: str) -> str:
    """`1 thread`, `2 threads`"""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def scaled(value: int | None, unit: float, digits: int) -> str | None:
    """With so many decimals; what is less than one unit has three significant digits."""
    if value is None:
        return None
    return f"{value / unit:#.3g}" if 0 < abs(value) < unit else f"{value / unit:,.{digits}f}"


def _milliseconds(summary: LatencySummary | None) -> str | None:
    return None if summary is None else short_figure(summary.median)


def _interval(summary: LatencySummary | None) -> str | None:
    if summary is None or summary.ci95 is None:
        return None
    return f"{short_figure(summary.ci95[0])} to {short_figure(summary.ci95[1])}"


def short_figure(value: float) -> str:
    """Four significant digits at the most, no more than a clock can tell."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

"""A choice as a table, Markdown and JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.text import Text

from vlbench.markup import bullets, details, escape_markdown
from vlbench.report import tables
from vlbench.report.choosing import Choice, RankedModel
from vlbench.report.export import LATENCY, bracketed


def meeting_frame(choice: Choice) -> pd.DataFrame:
    """Those that meet the budget, surely or perhaps, best first; a column that is empty for all is left out."""
    several = len({one.folder for one in choice.candidates}) > 1
    frame = pd.DataFrame([_row(one, choice) for one in choice.meeting], dtype=object)
    frame = frame.dropna(axis="columns", how="all")
    return frame if several else frame.drop(columns="folder", errors="ignore")


def _row(one: RankedModel, choice: Choice) -> dict[str, str | None]:
    summary = tables.summary_frame([one.result]).iloc[0].to_dict()
    latency = one.result.latency_ms
    row: dict[str, str | None] = {"rank": str(one.rank), "model": one.cell, "folder": one.folder, "meets": one.meets}
    row[LATENCY] = bracketed(latency.median, latency.ci95, tables.short_figure) if latency else None
    for name, kind in (("of the time", "latency"), ("of the memory", "memory")):
        share = next((judged.share for judged in one.judged if judged.of == kind), None)
        row[name] = None if share is None else f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
    row |= {name: summary[name] for name in ("peak MiB", "params M")}
    if choice.key:
        accuracy = one.accuracy
        told = bracketed(accuracy.value, accuracy.ci95, tables.percent) if accuracy else None
        row |= {f"{' '.join(choice.key)} %": told, "frontier": one.frontier}
    return row | {"noise": summary["noise"]}


def sentence(choice: Choice) -> str:
    """What to take: the best, or what comes nearest."""
    words, best = choice.budget.in_words(), choice.best
    if best:
        why = "" if choice.ranked_by == "accuracy" else ", the quickest of those that meet it"
        return f"Best within {words}: {best.cell} ({_figures(best)}){why}."
    if choice.meeting:
        one = choice.meeting[0]
        timed = any(judged.of == "latency" and judged.meets == "perhaps" for judged in one.judged)
        more = f" vlbench run --models {one.result.model} --within 1% --out NEW tells more." if timed else ""
        return (
            f"None is sure to be within {words}; perhaps {one.cell} ({_figures(one)}): {'; '.join(one.reasons)}.{more}"
        )
    nearest = next((one for one in choice.others if one.meets == "no"), None)
    told = f" Nearest is {nearest.cell}: {'; '.join(nearest.reasons)}." if nearest else ""
    return f"None is within {words}.{told}" if nearest else f"Of none can be told whether it is within {words}."


def _figures(one: RankedModel) -> str:
    """`88.9% [88.2, 89.5], 2.25 ms [2.19, 2.60], 48 MiB`"""
    accuracy, latency, told = one.accuracy, one.result.latency_ms, []
    if accuracy:
        value, _, interval = (bracketed(accuracy.value, accuracy.ci95, tables.percent) or "").partition(" ")
        told.append(f"{value}% {interval}".strip())
    if latency:
        value, _, interval = (bracketed(latency.median, latency.ci95, tables.short_figure) or "").partition(" ")
        told.append(f"{value} ms {interval}".strip())
    memory = tables.summary_frame([one.result])["peak MiB"][0]
    return ", ".join([*told, f"{memory} MiB"] if memory else told)


def other_lines(choice: Choice) -> list[str]:
    """Those that do not meet the budget, nearest first, and why; then those of which it cannot be told."""
    verdicts = {"no": "does not meet it", "unknown": "cannot be told"}
    return [f"{one.cell}: {verdicts[one.meets]}: {'; '.join(one.reasons)}" for one in choice.others]


def render(choice: Choice, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: any width."""
    parts: list[RenderableType] = []
    if choice.meeting:
        parts += [tables.rich_table(meeting_frame(choice), width), Text("")]
    parts.append(Text(sentence(choice), style="bold"))
    if choice.others:
        parts += [Text(""), Text("\n".join(other_lines(choice)), overflow="fold")]
    return Group(*parts, Text(""), Text("\n".join(choice.notes), style="dim", overflow="fold"))


def markdown(choice: Choice) -> str:
    parts = []
    if choice.meeting:
        frame = meeting_frame(choice)
        names = [name for name in ("model", "folder") if name in frame]
        parts.append(tables.markdown_table(frame.assign(**{name: frame[name].map(escape_markdown) for name in names})))
    parts.append(f"**{escape_markdown(sentence(choice))}**")
    parts += [bullets(other_lines(choice))] if choice.others else []
    parts.append(details("Machine and notes", bullets(choice.notes)))
    return "\n\n".join(parts) + "\n"


def as_json(choice: Choice) -> str:
    """All of it; plain units, null where something is not known."""
    key = choice.key
    content = {
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
        "candidates": [_content(one) for one in choice.candidates],
        "notes": list(choice.notes),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _content(one: RankedModel) -> dict[str, Any]:
    result, latency, accuracy = one.result, one.result.latency_ms, one.accuracy
    settings = ("device", "precision", "backend", "batch", "weights", "status", "error", "spec_hash", "cell_hash")
    return {
        **{"rank": one.rank, "cell": one.cell, "model": result.model, "family": result.family, "folder": one.folder},
        **{"meets": one.meets, "reasons": list(one.reasons)},
        "latency_ms": None if math.isinf(one.latency_ms) else one.latency_ms,
        "latency_ms_ci95": latency.ci95 if latency else None,
        "share_of_budget": {judged.of: judged.share for judged in one.judged if judged.share is not None},
        "peak_memory_bytes": result.peak_memory_bytes,
        **{"params_total": result.params_total, "macs": result.macs},
        "accuracy": accuracy.value if accuracy else None,
        "accuracy_ci95": accuracy.ci95 if accuracy else None,
        "frontier": one.frontier,
        "noise": result.noise.model_dump(mode="json") if result.noise else None,
        **{name: getattr(result, name) for name in settings},
        **{"threads": result.machine.threads, "torch": result.machine.torch, "measured_at": result.measured_at},
    }


WRITERS = {"json": as_json, "markdown": markdown}

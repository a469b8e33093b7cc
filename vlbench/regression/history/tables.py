"""A history as text: for a terminal, Markdown and JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from vlbench.regression.history.found import Names, milliseconds, name_all, percent
from vlbench.regression.history.runs import HistoryRun
from vlbench.regression.history.series import SIGNIFICANCE, Series, Shift

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

WORDS = ("model", "settings", "machine", "runs", "changes", "since", "folder", "software changed")
HISTORY_SCHEMA = 1
MOST_GAPS = 5  # runs without a latency that are told one by one


def render(history: Sequence[Series], threshold: float) -> RenderableType:
    """For a terminal."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    names = name_all(history)
    parts: list[RenderableType] = [_rich_table([_series_row(series, names) for series in history])]
    if shifts := _shift_rows(history, names):
        parts += [Text(""), Text("Change points", style="italic"), _rich_table(shifts)]
    return Group(*parts, Text(""), Text("\n".join(_notes(history, names, threshold)), style="dim", overflow="fold"))


def markdown(history: Sequence[Series], threshold: float) -> str:
    names = name_all(history)
    tables = [[_series_row(series, names) for series in history], _shift_rows(history, names)]
    parts = [_markdown_table(rows) for rows in tables if rows]
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in _notes(history, names, threshold))]) + "\n"


def as_json(history: Sequence[Series], threshold: float) -> str:
    """Every series with every run, without raw samples; docs/history.md explains each key."""
    content = {
        "schema": HISTORY_SCHEMA,
        "threshold": threshold,
        "significance": SIGNIFICANCE,
        "series": [_as_object(series) for series in history],
    }
    return json.dumps(content, indent=1) + "\n"


def _as_object(series: Series) -> dict[str, object]:
    return {
        "model": series.model,
        "settings": asdict(series.settings),
        "hardware": asdict(series.hardware),
        "fewest_runs": series.fewest,
        "judged_runs": len(series.judged),
        "drift": series.drift,
        "change_points": [_shift_as_object(series, shift) for shift in series.shifts],
        "events": [asdict(event) for event in series.events],
        "runs": [_run_as_object(run) for run in series.runs],
    }


def _shift_as_object(series: Series, shift: Shift) -> dict[str, object]:
    run = series.runs[shift.index]
    return {"measured_at": run.measured_at.isoformat(), "folder": run.folder, **asdict(shift)}


def _run_as_object(run: HistoryRun) -> dict[str, object]:
    return {
        "measured_at": run.measured_at.isoformat(),
        "folder": run.folder,
        "status": run.status,
        "error": run.error,
        "latency_ms": run.latency_ms,
        "interval_ms": run.interval_ms,
        "restarts": run.restarts,
        "verdict": run.verdict,
    }


def _series_row(series: Series, names: Names) -> dict[str, str]:
    timed = series.timed
    ends = (timed[0], timed[-1]) if timed else (None, None)
    return _identity(series, names) | {
        "runs": _counts(series),
        "first": f"{series.runs[0].measured_at:%Y-%m-%d}",
        "last": f"{series.runs[-1].measured_at:%Y-%m-%d}",
        "first ms": _with_interval(ends[0]),
        "last ms": _with_interval(ends[1]),
        "changes": _verdict(series),
    }


def _identity(series: Series, names: Names) -> dict[str, str]:
    return {"model": series.model, "settings": names.settings(series), "machine": names.machine(series)}


def _counts(series: Series) -> str:
    contended = sum(run.latency_ms is not None and not run.judged for run in series.runs)
    gaps = len(series.runs) - len(series.timed)
    told = [f"{count} {what}" for count, what in ((contended, "contended"), (gaps, "without latency")) if count]
    return f"{len(series.runs)}" + (f" ({', '.join(told)})" if told else "")


def _with_interval(run: HistoryRun | None) -> str:
    if run is None or run.latency_ms is None:
        return "-"
    interval = f" ({' to '.join(map(milliseconds, run.interval_ms))})" if run.interval_ms else ""
    mark = "" if run.judged else " contended"
    return milliseconds(run.latency_ms) + interval + mark


def _verdict(series: Series) -> str:
    if len(series.judged) < series.fewest:
        return f"too few runs ({len(series.judged)} of {series.fewest})"
    if series.drift is not None:
        return f"drift {percent(series.drift)}"
    return ", ".join(percent(shift.change) for shift in series.shifts) or "none"


def _shift_rows(history: Sequence[Series], names: Names) -> list[dict[str, str]]:
    return [_shift_row(series, shift, names) for series in history for shift in series.shifts]


def _shift_row(series: Series, shift: Shift, names: Names) -> dict[str, str]:
    run = series.runs[shift.index]
    software = [event.text for event in shift.events]
    software += [f"one run off: {event.text}" for event in shift.nearby]
    return _identity(series, names) | {
        "since": f"{run.measured_at:%Y-%m-%d %H:%M}",
        "folder": run.folder,
        "run": f"{shift.index + 1} of {len(series.runs)}",
        "before ms": milliseconds(shift.before_ms),
        "after ms": milliseconds(shift.after_ms),
        "change": percent(shift.change),
        "software changed": "; ".join(software) or "-",
    }


def _notes(history: Sequence[Series], names: Names, threshold: float) -> list[str]:
    several = len(names.machines) > 1
    lines = [
        f"Machine{f' {letter}' if several else ''}: {machine.in_words()}" for machine, letter in names.machines.items()
    ]
    lines.append(f"Settings: {names.common}")
    if any(series.shifts or len(series.judged) >= series.fewest for series in history):
        lines.append(
            f"Change points: of {100 * threshold:.3g}% or more; one by chance alone in at most {SIGNIFICANCE:.0%} of "
            "histories"
        )
    if any(not run.judged for series in history for run in series.timed):
        lines.append("Contended runs are shown, and count for no change point")
    if any(run.interval_ms is None for series in history for run in series.timed):
        lines.append("A run without an interval was measured in too few processes to have one")
    return lines + _gaps(history)


def _gaps(history: Sequence[Series]) -> list[str]:
    lines = [
        f"{series.model} {run.measured_at:%Y-%m-%d} ({run.folder}): {run.status}: {_short(run.error or 'no latency')}"
        for series in history
        for run in series.runs
        if run.latency_ms is None
    ]
    more = len(lines) - MOST_GAPS
    return lines[:MOST_GAPS] + ([f"and {more} more runs without a latency; --format json has them"] if more > 0 else [])


def _short(text: str) -> str:
    """One line of it, cut where it is long."""
    return textwrap.shorten(text, 120, placeholder="...")


def _filled(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Without the columns that are empty in every row."""
    kept = [name for name in rows[0] if any(row[name] for row in rows)]
    return [{name: row[name] for name in kept} for row in rows]


def _rich_table(rows: Sequence[dict[str, str]]) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    rows = _filled(rows)
    table = Table(header_style="bold", box=None, pad_edge=False)
    for name in rows[0]:
        wraps = name in ("settings", "folder", "software changed")
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=not wraps, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table


def _markdown_table(rows: Sequence[dict[str, str]]) -> str:
    from tabulate import tabulate  # noqa: PLC0415

    rows = _filled(rows)
    sides = ["left" if name in WORDS else "right" for name in rows[0]]
    cells = [[value.replace("|", "\\|") for value in row.values()] for row in rows]
    return tabulate(cells, headers=list(rows[0]), tablefmt="pipe", disable_numparse=True, colalign=sides)


WRITERS = {"json": as_json, "markdown": markdown}

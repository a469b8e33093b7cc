"""A history as tables, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vlbench.regression.history.runs import HistoryRun
from vlbench.regression.history.series import SIGNIFICANCE, Names, Series, Shift, name_all
from vlbench.tables.numbers import bracketed, short_number, signed_percent
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_json

HISTORY_SCHEMA = 1
MOST_GAPS = 5  # runs without a latency that are listed one by one
ShiftOfSeries = tuple[Series, Shift]


def history_tables(history: Sequence[Series], threshold: float) -> list[Table]:
    """One row per series, one per change point, and notes."""
    names = name_all(history)
    shifts = [(series, shift) for series in history for shift in series.shifts]
    return [
        Table.of(_series_columns(names), history),
        Table.of(_shift_columns(names), shifts, caption="Change points" if shifts else "", heading=""),
        Table(notes=tuple(_notes(history, names, threshold))),
    ]


def _identity(names: Names) -> list[TableColumn[Series]]:
    return [
        TableColumn("model", lambda series: series.model),
        TableColumn("settings", names.settings, wraps=True),
        TableColumn("machine", names.machine),
    ]


def _series_columns(names: Names) -> list[TableColumn[Series]]:
    return [
        *_identity(names),
        TableColumn("runs", _counts),
        TableColumn("first", lambda series: series.runs[0].measured_at, "{:%Y-%m-%d}".format),
        TableColumn("last", lambda series: series.runs[-1].measured_at, "{:%Y-%m-%d}".format),
        TableColumn("first ms", lambda series: series.timed[0] if series.timed else None, _latency),
        TableColumn("last ms", lambda series: series.timed[-1] if series.timed else None, _latency),
        TableColumn("changes", _changes),
    ]


def _shift_columns(names: Names) -> list[TableColumn[ShiftOfSeries]]:
    def run(item: ShiftOfSeries) -> HistoryRun:
        return item[0].runs[item[1].index]

    return [
        *(column.of(lambda item: item[0]) for column in _identity(names)),
        TableColumn("since", lambda item: f"{run(item).measured_at:%Y-%m-%d %H:%M}"),
        TableColumn("folder", lambda item: run(item).folder, wraps=True),
        TableColumn("run", lambda item: f"{item[1].index + 1} of {len(item[0].runs)}", str),
        TableColumn("before ms", lambda item: item[1].before_ms, short_number),
        TableColumn("after ms", lambda item: item[1].after_ms, short_number),
        TableColumn("change", lambda item: item[1].change, signed_percent),
        TableColumn("software changed", lambda item: _software(item[1]), wraps=True),
    ]


def _software(shift: Shift) -> str | None:
    nearby = [f"one run off: {event.text}" for event in shift.nearby]
    return "; ".join([*(event.text for event in shift.events), *nearby]) or None


def _counts(series: Series) -> str:
    contended = sum(run.latency_ms is not None and not run.judged for run in series.runs)
    gaps = len(series.runs) - len(series.timed)
    parts = [f"{count} {what}" for count, what in ((contended, "contended"), (gaps, "without latency")) if count]
    return f"{len(series.runs)}" + (f" ({', '.join(parts)})" if parts else "")


def _latency(run: HistoryRun) -> str:
    """`12.4 (12.1 to 12.6)`"""
    text = bracketed(run.latency_ms or 0, run.interval_ms, between=" to ").replace("[", "(").replace("]", ")")
    return text if run.judged else f"{text} contended"


def _changes(series: Series) -> str:
    if len(series.judged) < series.fewest:
        return f"too few runs ({len(series.judged)} of {series.fewest})"
    if series.drift is not None:
        return f"drift {signed_percent(series.drift)}"
    return ", ".join(signed_percent(shift.change) for shift in series.shifts) or "none"


def _notes(history: Sequence[Series], names: Names, threshold: float) -> list[str]:
    several = len(names.machines) > 1
    lines = [
        f"Machine{f' {letter}' if several else ''}: {machine.in_words()}" for machine, letter in names.machines.items()
    ]
    lines.append(f"Settings: {names.common}")
    if any(series.shifts or len(series.judged) >= series.fewest for series in history):
        lines.append(
            f"Change points: of {100 * threshold:.3g}% or more; at most {SIGNIFICANCE:.0%} of unchanged histories show "
            "one"
        )
    if any(not run.judged for series in history for run in series.timed):
        lines.append("Contended runs are shown, but do not count for change points")
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
    """One line, cut if it is long."""
    return textwrap.shorten(text, 120, placeholder="...")


def history_json(history: Sequence[Series], threshold: float) -> str:
    """Every series with every run, without samples; docs/history.md explains each key."""
    return to_json(
        {
            "schema": HISTORY_SCHEMA,
            "threshold": threshold,
            "significance": SIGNIFICANCE,
            "series": [_as_object(series) for series in history],
        }
    )


def _as_object(series: Series) -> dict[str, Any]:
    return {
        "model": series.model,
        "settings": asdict(series.settings),
        "hardware": asdict(series.hardware),
        "fewest_runs": series.fewest,
        "judged_runs": len(series.judged),
        "drift": series.drift,
        "change_points": [_run_of(series.runs[shift.index]) | asdict(shift) for shift in series.shifts],
        "events": [asdict(event) for event in series.events],
        "runs": [_run_of(run) | {name: getattr(run, name) for name in RUN_FIELDS} for run in series.runs],
    }


RUN_FIELDS = ("status", "error", "latency_ms", "interval_ms", "restarts", "verdict")


def _run_of(run: HistoryRun) -> dict[str, Any]:
    return {"measured_at": run.measured_at.isoformat(), "folder": run.folder}

"""Tables as people read them, of one results folder or several: rounded figures, their intervals in brackets."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.report import tables
from vlbench.report.frames import Results
from vlbench.report.joining import Accuracies
from vlbench.running.cells import Result

LATENCY = "latency ms (95%)"
SUMMARY = ("model", "params M", "GMACs", "peak MiB", LATENCY, "noise")
INTERVAL = "in brackets its 95% interval"
WRITTEN_BY = {"accuracy": "vlbench eval", "reported": "vlbench reproduce", "claims": "vlbench reproduce"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A table as people read it: rounded figures in words, gaps as None, and what it says."""

    name: str
    caption: str
    frame: pd.DataFrame


def told(results: Results, table: str | None = None) -> Told:
    """A table for Markdown or LaTeX; by default `summary`, or what else the results hold.

    Raises InputError where the results hold nothing of it, or it has too many rows to be read.
    """
    if table is None:
        held = (name for name in ("summary", "accuracy", "reported") if _rows(results, name))
        table = next(held, "summary")
    if table not in TOLD:
        raise InputError(f"--table {table}: a row a {table[:-1]} is nothing to read; --format csv or parquet writes it")
    check_held(results, table)
    found = TOLD[table](results)
    several = len(results.folders) > 1
    return Told(name=table, caption=found.caption, frame=found.frame if several else found.frame.drop(columns="folder"))


def check_held(results: Results, table: str) -> None:
    """Raises InputError where the results hold nothing of a table."""
    if not _rows(results, table):
        writer = WRITTEN_BY.get(table, "vlbench run")
        raise InputError(f"--table {table}: the results hold nothing of it; {writer} writes some")


def _rows(results: Results, table: str) -> int:
    return len(results.cells if table == "summary" else getattr(results, table))


def _named(results: Results) -> list[Result]:
    """Each under the name of its cell."""
    return [result.model_copy(update={"model": cell}) for _, cell, result in results.named]


def _folders(results: Results) -> list[str]:
    return [folder for folder, _, _ in results.named]


def _summary(results: Results) -> Told:
    frame = tables.summary_frame(_named(results))
    frame[LATENCY] = [_latency(row) for row in frame.to_dict("records")]
    frame.loc[[result.status != "ok" for _, _, result in results.named], LATENCY] = [
        result.status for _, _, result in results.named if result.status != "ok"
    ]
    frame = frame.reindex(columns=[*SUMMARY])
    accuracies = Accuracies(results.folders)
    for key in accuracies.keys_of(results.named):
        own = [accuracies.of(key, folder, result.spec_hash) for folder, _, result in results.named]
        frame[f"{' '.join(key)} %"] = [bracketed(one.value, one.ci95, tables.percent) if one else None for one in own]
    frame.insert(0, "folder", _folders(results))
    frame = frame.drop(columns=[name for name in ("noise",) if frame[name].isna().all()])
    words = f"One forward pass{_where(results)}: parameters, multiply-accumulates, peak memory and median latency, "
    return Told(name="summary", caption=words + INTERVAL, frame=frame)


def _latency(row: Mapping[Hashable, Any]) -> str | None:
    interval = row["95% interval"]
    return f"{row['latency ms']} [{interval.replace(' to ', ', ')}]" if interval else row["latency ms"]


def bracketed(value: float | None, ends: Sequence[float] | None, write: Callable[[float], str]) -> str | None:
    """`1,255 [1,118, 1,622]`; None where there is no value."""
    if value is None or pd.isna(value):
        return None
    known = ends is not None and not any(map(pd.isna, ends))
    return write(value) + (f" [{', '.join(map(write, ends or ()))}]" if known else "")


def _any_figure(value: float) -> str:
    return tables.short_figure(value) if abs(value) >= 0.1 or not value else f"{value:.3g}"


def _where(results: Results) -> str:
    """` on AMD EPYC, 2 cores, 2 threads (cpu, fp32, batch 1)`, as far as all cells share it."""
    cells = [result for _, _, result in results.named]
    machines = {f"{one.machine.in_few_words()}, {tables.counted(one.machine.threads, 'thread')}" for one in cells}
    settings = {f"{one.device}, {one.precision}, batch {one.batch}" for one in cells}
    where = f" on {next(iter(machines))}" if len(machines) == 1 else f" on {len(machines)} machines"
    return where + (f" ({next(iter(settings))})" if len(settings) == 1 else "")


def _stages(results: Results) -> Told:
    frame = tables.stage_frame(_named(results))
    frame.insert(0, "folder", _folders(results))
    return Told(name="stages", caption=f"Median latency by stage in ms{_where(results)}", frame=frame)


def _accuracy(results: Results) -> Told:
    rows = results.accuracy.to_dict("records")
    frame = results.accuracy[["folder", "model", "task", "split", "metric"]].astype(object)
    ends = [(row["value_low"], row["value_high"]) for row in rows]
    frame["% (95%)"] = [bracketed(row["value"], two, tables.percent) for row, two in zip(rows, ends, strict=True)]
    frame["n"] = [f"{row['n']:,}" for row in rows]
    frame["majority %"] = [bracketed(row["majority"], None, tables.percent) for row in rows]
    return Told(name="accuracy", caption=f"Accuracy in percent, {INTERVAL}", frame=frame)


def _reported(results: Results) -> Told:
    rows = results.reported.to_dict("records")
    frame = results.reported[["folder", "suite", "row", "quantity", "unit"]].astype(object)
    for name in ("measured", "reported"):
        ends = [(row["measured_low"], row["measured_high"]) if name == "measured" else None for row in rows]
        frame[name] = [
            bracketed(row[name], two, tables.short_figure) or row[f"{name}_words"]
            for row, two in zip(rows, ends, strict=True)
        ]
    frame["error"] = [bracketed(row["error"], None, "{:+.1%}".format) for row in rows]
    frame["verdict"], frame["erratum"] = results.reported["verdict"], results.reported["erratum"]
    return Told(name="reported", caption="Measured beside reported", frame=frame.dropna(axis="columns", how="all"))


def _claims(results: Results) -> Told:
    rows = results.claims.to_dict("records")
    frame = results.claims[["folder", "suite", "claim", "where", "verdict"]].astype(object)
    frame["value (95%)"] = [bracketed(row["value"], (row["value_low"], row["value_high"]), _any_figure) for row in rows]
    return Told(name="claims", caption="Claims of papers, on what was measured", frame=frame)


TOLD = {"summary": _summary, "stages": _stages, "accuracy": _accuracy, "reported": _reported, "claims": _claims}

"""Results for a pull request, a paper, a spreadsheet or pandas: Markdown and LaTeX tables with rounded figures and
intervals in brackets, CSV and Parquet."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.markup import bullets, comments, details, escape_latex, escape_markdown
from vlbench.report import columns, tables
from vlbench.report.frames import Accuracies, Results
from vlbench.runner.records import Result

LATENCY = "latency ms (95%)"
SUMMARY = ("model", "params M", "GMACs", "peak MiB", LATENCY, "noise")
INTERVAL = "in brackets its 95% interval"
WRITTEN_BY = {"accuracy": "vlbench eval", "reported": "vlbench reproduce", "claims": "vlbench reproduce"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayTable:
    """A table as people read it: rounded figures in words, gaps as None, and what it says."""

    name: str
    caption: str
    frame: pd.DataFrame


def display_table(results: Results, table: str | None = None) -> DisplayTable:
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
    return DisplayTable(
        name=table, caption=found.caption, frame=found.frame if several else found.frame.drop(columns="folder")
    )


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


def _summary(results: Results) -> DisplayTable:
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
    return DisplayTable(name="summary", caption=words + INTERVAL, frame=frame)


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


def _stages(results: Results) -> DisplayTable:
    frame = tables.stage_frame(_named(results))
    frame.insert(0, "folder", _folders(results))
    return DisplayTable(name="stages", caption=f"Median latency by stage in ms{_where(results)}", frame=frame)


def _accuracy(results: Results) -> DisplayTable:
    rows = results.accuracy.to_dict("records")
    frame = results.accuracy[["folder", "model", "task", "split", "metric"]].astype(object)
    ends = [(row["value_low"], row["value_high"]) for row in rows]
    frame["% (95%)"] = [bracketed(row["value"], two, tables.percent) for row, two in zip(rows, ends, strict=True)]
    frame["n"] = [f"{row['n']:,}" for row in rows]
    frame["majority %"] = [bracketed(row["majority"], None, tables.percent) for row in rows]
    return DisplayTable(name="accuracy", caption=f"Accuracy in percent, {INTERVAL}", frame=frame)


def _reported(results: Results) -> DisplayTable:
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
    return DisplayTable(
        name="reported", caption="Measured beside reported", frame=frame.dropna(axis="columns", how="all")
    )


def _claims(results: Results) -> DisplayTable:
    rows = results.claims.to_dict("records")
    frame = results.claims[["folder", "suite", "claim", "where", "verdict"]].astype(object)
    frame["value (95%)"] = [bracketed(row["value"], (row["value_low"], row["value_high"]), _any_figure) for row in rows]
    return DisplayTable(name="claims", caption="Claims of papers, on what was measured", frame=frame)


TOLD = {"summary": _summary, "stages": _stages, "accuracy": _accuracy, "reported": _reported, "claims": _claims}


PLAIN = ("summary", "stages", "samples", "accuracy", "reported", "claims")
OF_LATEX = {"params M": "parameters (M)", "GMACs": "MACs (G)", "peak MiB": "peak memory (MiB)", LATENCY: "latency (ms)"}
NUMBER = r"[-+]?\d[\d,]*(\.\d+)?%?"
FIGURE = re.compile(rf"{NUMBER}( \[{NUMBER}, {NUMBER}\])?")  # `1,255 [1,118, 1,622]`
THOUSANDS = re.compile(r"(?<=\d),(?=\d)")


def plain_frame(results: Results, table: str) -> pd.DataFrame:
    """A table of PLAIN in plain units: a frame of `results`; `summary` is its cells with their accuracies.

    Raises InputError where the results hold nothing of it.
    """
    check_held(results, table)
    frame: pd.DataFrame = _with_accuracies(results) if table == "summary" else getattr(results, table)
    return frame


def _with_accuracies(results: Results) -> pd.DataFrame:
    """Three columns a task, split and metric that models of cells were asked, named `shapes_test_accuracy`."""
    found, frame = Accuracies(results.folders), results.cells.copy()
    for key in found.keys_of(results.named):
        own = [found.of(key, folder, result.spec_hash) for folder, _, result in results.named]
        ends = [(one.ci95 if one else None) or (None, None) for one in own]
        name = "_".join(key)
        frame[name] = columns.series([one.value if one else None for one in own], columns.FIGURE)
        frame[f"{name}_low"] = columns.series([low for low, _ in ends], columns.FIGURE)
        frame[f"{name}_high"] = columns.series([high for _, high in ends], columns.FIGURE)
    return frame


def csv(results: Results, table: str = "summary") -> str:
    return plain_frame(results, table).to_csv(index=False)


def write_parquet(results: Results, path: Path, table: str = "samples") -> int:
    """Writes the frame and gives the number of its rows.

    pandas reads the same kinds by `read_parquet(path, dtype_backend="numpy_nullable")`. Raises InputError where the
    file cannot be written.
    """
    import duckdb  # noqa: PLC0415  slow to import

    frame = plain_frame(results, table)
    try:
        with duckdb.connect() as database:
            database.from_df(_with_gaps(frame)).write_parquet(str(path), compression="zstd")
    except duckdb.Error as error:
        raise InputError(f"-o {path}: cannot be written ({' '.join(str(error).split())})") from error
    return len(frame)


def _with_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """A gap of a float is none in a file, rather than no number."""
    return frame.astype({name: "Float64" for name, kind in frame.dtypes.items() if kind == columns.FIGURE})


def markdown(results: Results, table: str | None = None) -> str:
    """For GitHub: a table, and unless it was asked for by name, the stages and the notes to open."""
    parts = [_markdown_table(display_table(results, table))]
    if table is None:
        if len(results.stages):
            parts.append(details("Median latency by stage in ms", _markdown_table(display_table(results, "stages"))))
        parts.append(details("Machine, settings and cautions", bullets(notes(results))))
    return "\n\n".join(parts) + "\n"


def _markdown_table(one: DisplayTable) -> str:
    return tables.markdown_table(one.frame.map(_markdown).rename(columns=escape_markdown))


def _markdown(value: object) -> object:
    return escape_markdown(value) if isinstance(value, str) and not FIGURE.fullmatch(value) else value


def latex(results: Results, table: str | None = None) -> str:
    """Floats with the rules of booktabs, a caption and a label; the notes are comments."""
    every = [display_table(results, table)]
    if table is None and len(results.stages):
        every.append(display_table(results, "stages"))
    needs = comments([r"needs \usepackage{booktabs}"])
    return "\n".join([needs, *map(_float, every), comments(notes(results))]) + "\n"


def _float(one: DisplayTable) -> str:
    header = {name: OF_LATEX.get(name, re.sub(r" %$", " (%)", name)) for name in one.frame.columns}
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{escape_latex(one.caption)}}}\n\\label{{tab:vlbench-{one.name}}}\n"
        f"{tables.latex_table(one.frame.rename(columns=header), _latex)}\\end{{table}}"
    )


def _latex(value: str) -> str:
    """A figure with a true minus, thin spaces between thousands, and its interval."""
    if not FIGURE.fullmatch(value):
        return "--" if value == tables.GAP else escape_latex(value)
    value, _, interval = THOUSANDS.sub(r"\,", value).replace("%", r"\%").partition(" [")
    return f"${value}\\,[{interval}$" if interval else f"${value}$"


def notes(results: Results) -> list[str]:
    """Machines, settings and what keeps figures from being trusted; of several folders, each under its label."""
    several = len(results.folders) > 1
    lines: list[str] = []
    for folder in results.folders:
        own = [
            result.model_copy(update={"model": cell}) for label, cell, result in results.named if label == folder.label
        ]
        found = tables.notes(own) if own else []
        unasked = {one.model for one in folder.evaluations} - {result.model for result in folder.results}
        if own and unasked:
            found.append(f"Accuracy without latency: {', '.join(sorted(unasked))}")
        lines += [f"{folder.label}: {line}" if several else line for line in found]
    return lines

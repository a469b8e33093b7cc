"""Results for a pull request, a paper, a spreadsheet or pandas: Markdown and LaTeX tables with rounded values and
intervals in brackets, CSV and Parquet in plain units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.report import columns
from vlbench.report.efficiency import efficiency_columns
from vlbench.report.frames import Results
from vlbench.report.matched_accuracy import Accuracies, Key
from vlbench.report.notes import notes as result_notes
from vlbench.report.tables import (
    BRACKETED,
    GMACS,
    NOISE,
    PARAMS,
    PEAK,
    Estimate,
    estimate,
    estimated,
    estimated_accuracy,
    stage_columns,
)
from vlbench.tables.numbers import any_number, counted, percent, short_number
from vlbench.tables.table import Table, TableColumn

INTERVAL = "in brackets its 95% interval"
WRITTEN_BY = {"accuracy": "vlbench eval", "reported": "vlbench reproduce", "claims": "vlbench reproduce"}
FOLDER, MODEL, RESULT = itemgetter(0), itemgetter(1), itemgetter(2)  # of `Results.named`
NAMED = (TableColumn[Any]("folder", FOLDER), TableColumn[Any]("model", MODEL))


def export_tables(results: Results, table: str | None = None) -> list[Table]:
    """A table; if it was not asked for by name, the stages, too; and the notes."""
    tables = [display_table(results, table)]
    if table is None and len(results.stages):
        tables.append(replace(display_table(results, "stages"), folded=True))
    return [*tables, Table(caption="Machine, settings and cautions", notes=tuple(notes(results)), folded=True)]


def display_table(results: Results, table: str | None = None) -> Table:
    """A table of rounded values; by default `summary`, or the first of `accuracy` and `reported` that is not empty.

    Raises InputError if the results hold no rows of it, or it has too many to be read.
    """
    if table is None:
        filled = (name for name in ("summary", "accuracy", "reported") if _row_count(results, name))
        table = next(filled, "summary")
    if table not in DISPLAYED:
        raise InputError(
            f"--table {table} has one row per {table[:-1]}, too many for Markdown or LaTeX; use --format csv or parquet"
        )
    check_filled(results, table)
    display = replace(DISPLAYED[table](results), heading="", label=f"vlbench-{table}")
    return display if len(results.folders) > 1 else display.keep(lambda column: column.name != "folder")


def check_filled(results: Results, table: str) -> None:
    """Raises InputError if the results hold no rows of a table."""
    if not _row_count(results, table):
        writer = WRITTEN_BY.get(table, "vlbench run")
        raise InputError(f"--table {table}: the results hold nothing of it; {writer} writes some")


def _row_count(results: Results, table: str) -> int:
    return len(results.cells if table == "summary" else getattr(results, table))


def _summary(results: Results) -> Table:
    accuracies = Accuracies(results.folders)
    used = [column for column in efficiency_columns(results.roofs) if column.shown == "always"]
    measured = [column.of(RESULT) for column in (PARAMS, GMACS, PEAK, BRACKETED, *used, NOISE)]
    accuracy = [_accuracy_column(key, accuracies) for key in accuracies.keys_of(results.named)]
    caption = f"One forward pass{_where(results)}: parameters, multiply-accumulates, peak memory and median latency, "
    return Table.of((*NAMED, *measured, *accuracy), results.named, caption=caption + INTERVAL)


def _accuracy_column(key: Key, accuracies: Accuracies) -> TableColumn[Any]:
    def get(named: Any) -> Estimate | str | None:
        accuracy = accuracies.of(key, FOLDER(named), RESULT(named))
        return estimated_accuracy(accuracy) if accuracy else None

    return TableColumn(f"{' '.join(key)} %", get, estimated(percent))


def _where(results: Results) -> str:
    """` on AMD EPYC, 2 cores, 2 threads (cpu, fp32, batch 1)`, as far as all measurements share it."""
    cells = [result for _, _, result in results.named]
    machines = {f"{cell.machine.in_few_words()}, {counted(cell.machine.threads, 'thread')}" for cell in cells}
    settings = {
        ", ".join([cell.device, cell.precision, *([cell.backend] if cell.scope else []), f"batch {cell.batch}"])
        for cell in cells
    }
    where = f" on {next(iter(machines))}" if len(machines) == 1 else f" on {len(machines)} machines"
    return where + (f" ({next(iter(settings))})" if len(settings) == 1 else "")


def _stages(results: Results) -> Table:
    stages = [column.of(RESULT) for column in stage_columns([result for _, _, result in results.named])]
    return Table.of((*NAMED, *stages), results.named, caption=f"Median latency by stage in ms{_where(results)}")


def _text(*names: str) -> list[TableColumn[Any]]:
    return [TableColumn(name, itemgetter(name)) for name in names]


def _estimate(heading: str, name: str, write: Callable[[float], str]) -> TableColumn[Any]:
    """Of a column of a frame with its interval; or its words, if it is no number."""

    def get(row: Mapping[str, Any]) -> Estimate | str | None:
        interval = (row.get(f"{name}_low"), row.get(f"{name}_high"))
        return estimate(row[name], interval) or row.get(f"{name}_words")

    return TableColumn(heading, get, estimated(write))


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """With None for gaps."""
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


def _accuracy(results: Results) -> Table:
    executed = [name for name in ("backend", "precision") if results.accuracy[name].nunique() > 1]
    shown = [
        *_text("folder", "model", *executed, "task", "split", "metric", "untrained"),
        _estimate("% (95%)", "value", percent),
        TableColumn("n", itemgetter("n"), "{:,}".format),
        TableColumn("majority %", itemgetter("majority"), percent),
    ]
    return Table.of(shown, _rows(results.accuracy), caption=f"Accuracy in percent, {INTERVAL}")


def _reported(results: Results) -> Table:
    shown = [
        *_text("folder", "suite", "row", "quantity", "unit"),
        _estimate("measured", "measured", short_number),
        _estimate("reported", "reported", short_number),
        TableColumn("error", itemgetter("error"), "{:+.1%}".format),
        *_text("verdict", "erratum", "reason"),
    ]
    return Table.of(shown, _rows(results.reported), caption="Measured and reported values")


def _claims(results: Results) -> Table:
    value = _estimate("value (95%)", "value", any_number)
    shown = [*_text("folder", "suite", "claim", "where", "verdict"), value, *_text("reason")]
    return Table.of(shown, _rows(results.claims), caption="Claims of papers, evaluated on the measured values")


DISPLAYED = {"summary": _summary, "stages": _stages, "accuracy": _accuracy, "reported": _reported, "claims": _claims}


PLAIN = ("summary", "stages", "samples", "accuracy", "reported", "claims")


def plain_frame(results: Results, table: str) -> pd.DataFrame:
    """A table of PLAIN in plain units: a frame of `results`; `summary` is its cells with their accuracies.

    Raises InputError if the results hold no rows of it.
    """
    check_filled(results, table)
    frame: pd.DataFrame = _with_accuracies(results) if table == "summary" else getattr(results, table)
    return frame


def _with_accuracies(results: Results) -> pd.DataFrame:
    """With three columns per task, split and metric, named `shapes_test_accuracy`."""
    accuracies, frame = Accuracies(results.folders), results.cells.copy()
    for key in accuracies.keys_of(results.named):
        measured = [accuracies.of(key, folder, result) for folder, _, result in results.named]
        ends = [(accuracy.ci95 if accuracy else None) or (None, None) for accuracy in measured]
        name = "_".join(key)
        frame[name] = columns.series([accuracy.value if accuracy else None for accuracy in measured], columns.FIGURE)
        frame[f"{name}_low"] = columns.series([low for low, _ in ends], columns.FIGURE)
        frame[f"{name}_high"] = columns.series([high for _, high in ends], columns.FIGURE)
    return frame


def write_parquet(results: Results, path: Path, table: str = "samples") -> int:
    """Writes the frame and returns the number of its rows.

    pandas reads the same types by `read_parquet(path, dtype_backend="numpy_nullable")`. Raises InputError if the file
    cannot be written.
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
    """With NULL rather than NaN for a missing float."""
    return frame.astype({name: "Float64" for name, kind in frame.dtypes.items() if kind == columns.FIGURE})


def notes(results: Results) -> list[str]:
    """Machines, settings and cautions; if there are several folders, each line with the folder's label."""
    several = len(results.folders) > 1
    lines: list[str] = []
    for folder in results.folders:
        of_folder = result_notes(folder.results) if folder.results else []
        untimed = {evaluation.model for evaluation in folder.evaluations} - {result.model for result in folder.results}
        if folder.results and untimed:
            of_folder.append(f"Accuracy without latency: {', '.join(sorted(untimed))}")
        lines += [f"{folder.label}: {line}" if several else line for line in of_folder]
    return lines

"""Results for a pull request, a paper, a spreadsheet or pandas: Markdown, LaTeX, CSV and Parquet."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from vlbench.errors import InputError
from vlbench.markup import bullets, comments, details, escape_latex, escape_markdown
from vlbench.report import columns, tables
from vlbench.report.frames import Results
from vlbench.report.joining import Accuracies
from vlbench.report.told import LATENCY, Told, check_held, told

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
    parts = [_markdown_table(told(results, table))]
    if table is None:
        if len(results.stages):
            parts.append(details("Median latency by stage in ms", _markdown_table(told(results, "stages"))))
        parts.append(details("Machine, settings and cautions", bullets(notes(results))))
    return "\n\n".join(parts) + "\n"


def _markdown_table(one: Told) -> str:
    return tables.markdown_table(one.frame.map(_markdown).rename(columns=escape_markdown))


def _markdown(value: object) -> object:
    return escape_markdown(value) if isinstance(value, str) and not FIGURE.fullmatch(value) else value


def latex(results: Results, table: str | None = None) -> str:
    """Floats with the rules of booktabs, a caption and a label; the notes are comments."""
    every = [told(results, table)]
    if table is None and len(results.stages):
        every.append(told(results, "stages"))
    needs = comments([r"needs \usepackage{booktabs}"])
    return "\n".join([needs, *map(_float, every), comments(notes(results))]) + "\n"


def _float(one: Told) -> str:
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

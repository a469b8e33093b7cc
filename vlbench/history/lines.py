"""Lines of cells.jsonl and rows of Parquet files, as they stand, in DuckDB's table `raw`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.history.database import columns_of, quoted, reason
from vlbench.history.runs import COLUMNS, OPTIONAL

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

LINES = "cells.jsonl"
LONGEST_LINE = 64 * 2**20  # bytes; with its raw samples one has about a tenth of a mebibyte
NESTED = {
    "image_size": ["INTEGER"],
    "latency_ms": {"median": "DOUBLE", "ci95": ["DOUBLE"], "by_restart": ["DOUBLE"]},
    "noise": {"verdict": "VARCHAR"},
}


def read_files(connection: DuckDBPyConnection, files: Sequence[Path]) -> list[str]:
    """Makes `raw`: a row a line, in order, with the line's file as `filename`; all of a damaged line is NULL.

    Gives a warning for each file that could not be read.
    """
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE raw ({types}, filename VARCHAR)")
    faults = {file: fault for file in files if (fault := _unreadable(file))}
    sound = [file for file in files if file not in faults and file.stat().st_size]  # DuckDB reads no empty file
    lines = [file for file in sound if file.suffix != ".parquet"]
    if lines and _insert_lines(connection, lines):  # one of them stops DuckDB; it is found alone
        faults |= {file: fault for file in lines if (fault := _insert_lines(connection, [file]))}
    rows = [file for file in sound if file.suffix == ".parquet"]
    faults |= {file: fault for file in rows if (fault := _insert_parquet(connection, file))}
    return [f"{file}: {fault}; left out" for file, fault in faults.items()]


def line_numbers(file: Path, positions: Sequence[int]) -> list[int]:
    """The lines, from 1, in which the rows at these positions, from 1, stand; blank lines are no rows."""
    numbers = [number for number, line in enumerate(file.read_bytes().split(b"\n"), start=1) if line.strip()]
    return [numbers[position - 1] for position in positions if position <= len(numbers)]


def _unreadable(file: Path) -> str | None:
    try:
        file.open("rb").close()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _insert_lines(connection: DuckDBPyConnection, files: Sequence[Path]) -> str | None:
    import duckdb  # noqa: PLC0415  as in reading.py

    types = "{" + ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items()) + "}"
    try:
        connection.execute(
            f"""
            INSERT INTO raw SELECT {", ".join(COLUMNS)}, filename
            FROM read_json(?, format = 'newline_delimited', columns = {types}, filename = true,
                           ignore_errors = true, maximum_object_size = {LONGEST_LINE})
            """,
            [[_literally(file) for file in files]],
        )
    except duckdb.Error as error:
        return reason(error)
    return None


def _insert_parquet(connection: DuckDBPyConnection, file: Path) -> str | None:
    """Rows with the names and the nesting that lines of cells.jsonl have; `machine` may be a struct or JSON."""
    import duckdb  # noqa: PLC0415

    source = f"read_parquet({quoted(_literally(file))})"
    try:
        held = columns_of(connection, f"SELECT * FROM {source}")
        missing = [name for name in COLUMNS if name not in held and name not in OPTIONAL]
        if missing:
            return f"has no column {missing[0]}, so holds no results of vlbench"
        values = [_converted(name, held[name]) if name in held else "NULL" for name in COLUMNS]
        connection.execute(f"INSERT INTO raw SELECT {', '.join(values)}, {quoted(str(file))} FROM {source}")
    except duckdb.Error as error:
        return reason(error)
    return None


def _converted(name: str, kind: str) -> str:
    """SQL that makes a Parquet column what `COLUMNS` says, NULL where it cannot."""
    if name in NESTED:
        return f"json_transform(to_json({name}), {quoted(json.dumps(NESTED[name]))})"
    if name == "machine" and kind != "VARCHAR":
        return "to_json(machine)"
    return f"TRY_CAST({name} AS {COLUMNS[name]})"


def _literally(file: Path) -> str:
    """A path in which no sign stands for others."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))

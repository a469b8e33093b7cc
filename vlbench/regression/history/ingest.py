"""Reads lines of cells.jsonl and Parquet files into DuckDB: table `lines`, as they are, then table `results`, whole
results only, each once."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.regression.history.database import columns_of, quoted, reason
from vlbench.regression.history.runs import ADDED, COLUMNS, OPTIONAL
from vlbench.runner.schemas import RESULT_SCHEMA, remedy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


LINES = "cells.jsonl"
LONGEST_LINE = 16 * 2**20  # bytes; with all samples a line has about a tenth of a mebibyte
NESTED = {
    "image_size": ["INTEGER"],
    "latency_ms": {"median": "DOUBLE", "ci95": ["DOUBLE"], "by_restart": ["DOUBLE"]},
    "noise": {"verdict": "VARCHAR"},
}


def read_files(connection: DuckDBPyConnection, files: Sequence[Path]) -> list[str]:
    """Makes table `lines`: one row per line, in order, with its file as `filename`; a damaged line is all NULL.

    Returns a warning for each file that could not be read.
    """
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TABLE lines ({types}, filename VARCHAR)")
    faults = {file: fault for file in files if (fault := _unreadable(file))}
    sound = [file for file in files if file not in faults and file.stat().st_size]  # DuckDB does not read empty files
    lines = [file for file in sound if file.suffix != ".parquet"]
    if lines and _insert_lines(connection, lines):  # one file stops DuckDB: read each alone
        faults |= {file: fault for file in lines if (fault := _insert_lines(connection, [file]))}
    rows = [file for file in sound if file.suffix == ".parquet"]
    faults |= {file: fault for file in rows if (fault := _insert_parquet(connection, file))}
    return [f"{file}: {fault}; left out" for file, fault in faults.items()]


def line_numbers(file: Path, positions: Sequence[int]) -> list[int]:
    """The line numbers, from 1, of the rows at these positions, from 1; blank lines are not rows."""
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
            INSERT INTO lines SELECT {", ".join(COLUMNS)}, filename
            FROM read_json(?, format = 'newline_delimited', columns = {types}, filename = true,
                           ignore_errors = true, maximum_object_size = {LONGEST_LINE})
            """,
            [[_literally(file) for file in files]],
        )
    except duckdb.Error as error:
        return reason(error)
    return None


def _insert_parquet(connection: DuckDBPyConnection, file: Path) -> str | None:
    """Inserts rows whose names and nesting are those of cells.jsonl; `machine` may be a struct or JSON."""
    import duckdb  # noqa: PLC0415

    source = f"read_parquet({quoted(_literally(file))})"
    try:
        types = columns_of(connection, f"SELECT * FROM {source}")
        missing = [name for name in COLUMNS if name not in types and name not in OPTIONAL]
        if missing:
            return f"has no column {missing[0]}, so holds no results of vlbench"
        values = [_converted(name, types[name]) if name in types else "NULL" for name in COLUMNS]
        connection.execute(f"INSERT INTO lines SELECT {', '.join(values)}, {quoted(str(file))} FROM {source}")
    except duckdb.Error as error:
        return reason(error)
    return None


def _converted(name: str, kind: str) -> str:
    """SQL that converts a Parquet column to its type in `COLUMNS`, or to NULL."""
    if name in NESTED:
        return f"json_transform(to_json({name}), {quoted(json.dumps(NESTED[name]))})"
    if name == "machine" and kind != "VARCHAR":
        return "to_json(machine)"
    return f"TRY_CAST({name} AS {COLUMNS[name]})"


def _literally(file: Path) -> str:
    """The path with its glob characters escaped."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


REQUIRED = [name for name in COLUMNS if name not in OPTIONAL]
# `measured_at` in UTC, which is its zone if it names none
MOMENT = r"""
    make_timestamp(epoch_us(TRY_CAST(measured_at || CASE
        WHEN regexp_matches(measured_at, ':\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$') THEN '' ELSE '+00:00'
    END AS TIMESTAMPTZ)))
"""
NUMBERS = ("cores", "ram_bytes", "threads")  # of the machine


def make_results(connection: DuckDBPyConnection, folders: Mapping[str, str]) -> list[str]:
    """Makes table `results`; `folders` is how each file's folder is named. Returns a warning per fault and file."""
    connection.execute(f"""
        CREATE TABLE checked AS
        SELECT *, rowid AS line_order, row_number() OVER (PARTITION BY filename ORDER BY rowid) AS position,
               {_fault()} AS fault
        FROM (SELECT *, rowid, {MOMENT} AS moment FROM lines)
    """)
    connection.execute(
        "CREATE TABLE folders AS SELECT unnest(?) AS filename, unnest(?) AS folder",
        [list(folders), list(folders.values())],
    )
    # The same line may lie in two folders, or in a folder and a Parquet file.
    connection.execute(f"""
        CREATE TABLE results AS
        WITH known AS (
            SELECT *, md5(concat_ws('|', cell_hash, moment, status, latency_ms.median, machine->>'gpu', machine->>'cpu',
                                    machine->>'cores', machine->>'ram_bytes', machine->>'threads')) AS key
            FROM checked WHERE fault IS NULL
        ), placed AS (
            SELECT *, first_value(key) OVER (PARTITION BY filename ORDER BY position) AS source,
                   max(moment) OVER (PARTITION BY filename ORDER BY position
                                 ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ordered_at
            FROM known
        )
        SELECT {", ".join((*COLUMNS, *ADDED))} FROM placed JOIN folders USING (filename)
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY line_order) = 1
    """)
    return _warnings(connection)


def _fault() -> str:
    """SQL that says what is wrong with a line; NULL if it is a whole result."""
    absent = " ".join(f"WHEN {name} IS NULL THEN 'no {name}'" for name in REQUIRED)
    unknown = " ".join(
        f"WHEN json_type(machine, '$.{name}') IS DISTINCT FROM 'UBIGINT' THEN 'no machine.{name}'" for name in NUMBERS
    )
    damaged = " ".join(
        f"WHEN json_type(machine, '$.{name}') NOT IN ('NULL', '{kind}') THEN 'machine.{name} has another type'"
        for name, kind in (("gpu", "VARCHAR"), ("logical_cores", "UBIGINT"))
    )
    older, newer = remedy(RESULT_SCHEMA - 1), remedy(RESULT_SCHEMA + 1)
    return f"""
        CASE WHEN model IS NULL AND machine IS NULL AND cell_hash IS NULL
                  THEN 'no whole result; cut off, damaged or not of vlbench'
             WHEN schema < {RESULT_SCHEMA} THEN concat('schema ', schema, '{older}')
             WHEN schema > {RESULT_SCHEMA} THEN concat('schema ', schema, '{newer}')
             {absent}
             WHEN moment IS NULL THEN concat('measured_at ', measured_at, ' is no time')
             WHEN json_type(machine, '$.cpu') IS DISTINCT FROM 'VARCHAR' THEN 'no machine.cpu'
             {unknown}
             {damaged}
             WHEN status = 'ok' AND NOT (latency_ms.median > 0 AND isfinite(latency_ms.median))
                  THEN concat('latency_ms.median ', latency_ms.median, ' is no latency')
        END
    """


def _warnings(connection: DuckDBPyConnection) -> list[str]:
    faults: dict[tuple[str, str], list[int]] = defaultdict(list)
    rows = connection.execute(
        "SELECT filename, fault, position FROM checked WHERE fault IS NOT NULL ORDER BY line_order"
    ).fetchall()
    for filename, fault, position in rows:
        faults[filename, fault].append(position)
    return [_warning(Path(filename), fault, positions) for (filename, fault), positions in faults.items()]


def _warning(file: Path, fault: str, positions: list[int]) -> str:
    numbers = positions if file.suffix == ".parquet" else line_numbers(file, positions)
    kind = "row" if file.suffix == ".parquet" else "line"
    more = f" and {len(numbers) - 1} more {kind}s" if len(numbers) > 1 else ""
    return f"{file} {kind} {numbers[0]}{more}: {fault}; left out"

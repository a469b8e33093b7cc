"""From `raw` to `found`: whole results only, each once, with what history adds to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.history.lines import line_numbers
from vlbench.history.runs import ADDED, COLUMNS, OPTIONAL
from vlbench.running.cells import SCHEMA

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

REQUIRED = [name for name in COLUMNS if name not in OPTIONAL]
# `measured_at` in UTC, which it is where it names no zone
MOMENT = r"""
    make_timestamp(epoch_us(TRY_CAST(measured_at || CASE
        WHEN regexp_matches(measured_at, ':\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)$') THEN '' ELSE '+00:00'
    END AS TIMESTAMPTZ)))
"""
NUMBERS = ("cores", "ram_bytes", "threads")  # of the machine


def make_found(connection: DuckDBPyConnection, folders: Mapping[str, str]) -> list[str]:
    """Makes `found`; `folders` names the folder of each file for a reader. Gives a warning for each fault of a file."""
    connection.execute(f"""
        CREATE TABLE checked AS
        SELECT *, rowid AS place, row_number() OVER (PARTITION BY filename ORDER BY rowid) AS position,
               {_fault()} AS fault
        FROM (SELECT *, rowid, {MOMENT} AS moment FROM raw)
    """)
    connection.execute(
        "CREATE TABLE folders AS SELECT unnest(?) AS filename, unnest(?) AS folder",
        [list(folders), list(folders.values())],
    )
    # The same line may lie in two folders, or in a folder and a Parquet file.
    connection.execute(f"""
        CREATE TABLE found AS
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
        QUALIFY row_number() OVER (PARTITION BY key ORDER BY place) = 1
    """)
    return _warnings(connection)


def _fault() -> str:
    """SQL that says what is wrong with a line; NULL where it is a whole result."""
    absent = " ".join(f"WHEN {name} IS NULL THEN 'no {name}'" for name in REQUIRED)
    unknown = " ".join(
        f"WHEN TRY_CAST(machine->>'{name}' AS BIGINT) IS NULL THEN 'no machine.{name}'" for name in NUMBERS
    )
    known = f"this vlbench reads schemas 1 to {SCHEMA}"
    return f"""
        CASE WHEN model IS NULL AND machine IS NULL AND cell_hash IS NULL
                  THEN 'no whole result; cut off, damaged or not of vlbench'
             WHEN schema NOT BETWEEN 1 AND {SCHEMA} THEN concat('schema ', schema, '; {known}')
             {absent}
             WHEN moment IS NULL THEN concat('measured_at ', measured_at, ' is no time')
             WHEN machine->>'cpu' IS NULL THEN 'no machine.cpu'
             {unknown}
             WHEN status = 'ok' AND NOT (latency_ms.median > 0 AND isfinite(latency_ms.median))
                  THEN concat('latency_ms.median ', latency_ms.median, ' is no latency')
        END
    """


def _warnings(connection: DuckDBPyConnection) -> list[str]:
    faults: dict[tuple[str, str], list[int]] = defaultdict(list)
    rows = connection.execute(
        "SELECT filename, fault, position FROM checked WHERE fault IS NOT NULL ORDER BY place"
    ).fetchall()
    for filename, fault, position in rows:
        faults[filename, fault].append(position)
    return [_warning(Path(filename), fault, positions) for (filename, fault), positions in faults.items()]


def _warning(file: Path, fault: str, positions: list[int]) -> str:
    numbers = positions if file.suffix == ".parquet" else line_numbers(file, positions)
    kind = "row" if file.suffix == ".parquet" else "line"
    more = f" and {len(numbers) - 1} more {kind}s" if len(numbers) > 1 else ""
    return f"{file} {kind} {numbers[0]}{more}: {fault}; left out"

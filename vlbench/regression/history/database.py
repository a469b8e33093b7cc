"""The DuckDB file that stores a history: one table, `runs`, without duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import InputError
from vlbench.regression.history.runs import ADDED, COLUMNS
from vlbench.runner.schemas import RESULT_SCHEMA, remedy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

STORED = COLUMNS | ADDED


def read_store(connection: DuckDBPyConnection, file: Path) -> None:
    """Copies the runs of a DuckDB file into table `results`. Raises InputError if the file is not vlbench's."""
    _attach(connection, file, str(file), read_only=True)
    _check(connection, str(file))
    connection.execute(f"CREATE TABLE results AS SELECT {', '.join(STORED)} FROM store.runs")
    connection.execute("DETACH store")


def add_to_store(connection: DuckDBPyConnection, file: Path) -> int:
    """Adds table `results` to the file, then replaces it by all runs of the file; returns how many were new.

    Either all are added or none. Raises InputError if the file cannot be written.
    """
    import duckdb  # noqa: PLC0415  as in reading.py

    where = f"--store {file}"
    _attach(connection, file, where, read_only=False)
    types = ", ".join(f"{name} {kind}" for name, kind in STORED.items())
    try:
        connection.execute(f"CREATE TABLE IF NOT EXISTS store.runs ({types}, PRIMARY KEY (key))")
        _check(connection, where)
        (added,) = connection.execute(
            f"INSERT INTO store.runs SELECT {', '.join(STORED)} FROM results ON CONFLICT DO NOTHING"
        ).fetchall()[0]
        connection.execute(f"CREATE OR REPLACE TABLE results AS SELECT {', '.join(STORED)} FROM store.runs")
        connection.execute("DETACH store")
    except duckdb.Error as error:
        raise InputError(f"{where}: {reason(error)}; nothing is added") from error
    return int(added)


def columns_of(connection: DuckDBPyConnection, query: str) -> dict[str, str]:
    """The type of each column of a query."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {query}").fetchall()}


def quoted(text: str) -> str:
    """The text as a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def reason(error: Exception) -> str:
    """The first sentence of DuckDB's message, without its kind."""
    return str(error).splitlines()[0].partition("Error: ")[2].rstrip(".!") or str(error)


def _attach(connection: DuckDBPyConnection, file: Path, where: str, *, read_only: bool) -> None:
    import duckdb  # noqa: PLC0415

    try:
        connection.execute(f"ATTACH {quoted(str(file))} AS store (TYPE duckdb{', READ_ONLY' if read_only else ''})")
    except duckdb.Error as error:
        message = str(error)
        if "lock" in message:
            raise InputError(f"{where}: another process has it open; run this again when that has ended") from error
        if "not a valid DuckDB" in message:
            raise InputError(f"{where}: is no DuckDB database; name a folder or a .duckdb file") from error
        raise InputError(f"{where}: {reason(error)}") from error


def _check(connection: DuckDBPyConnection, where: str) -> None:
    import duckdb  # noqa: PLC0415

    try:
        columns = columns_of(connection, "SELECT * FROM store.runs")
    except duckdb.CatalogException:
        columns = {}
    if list(columns) != list(STORED):
        raise InputError(f"{where}: a DuckDB database, but not one that vlbench history --store made")
    query = "SELECT schema FROM store.runs WHERE schema <> ? LIMIT 1"
    for (schema,) in connection.execute(query, [RESULT_SCHEMA]).fetchall():
        raise InputError(f"{where}: holds results of schema {schema}{remedy(schema)} or name another file")

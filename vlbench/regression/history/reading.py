"""Results folders and DuckDB files as one list of runs, each once, in the order measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.errors import InputError
from vlbench.regression.history.database import add_to_store, read_store, reason
from vlbench.regression.history.ingest import LINES, MOMENT, make_results, read_files
from vlbench.regression.history.runs import HistoryRun, to_run

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`warnings` say what was left out; `added` counts the runs that were new to the store, if there is one."""

    runs: tuple[HistoryRun, ...]
    warnings: tuple[str, ...] = ()
    added: int | None = None


def read_runs(path: Path, *, store: Path | None = None) -> Reading:
    """All runs below a folder, or in a .duckdb file; with a store, they are added to it and all its runs are read.

    Damaged lines and files are left out, with a warning. Raises InputError where nothing can be read, or where the
    store cannot be written.
    """
    import duckdb  # noqa: PLC0415  some 20 MB, and only this command needs it

    if store and path.exists() and store.exists() and store.samefile(path):
        raise InputError(f"--store {store}: is what is read; leave --store out")
    with duckdb.connect(config={"autoinstall_known_extensions": "false", "threads": 1}) as connection:
        try:
            warnings = _gather(connection, path)
            added = add_to_store(connection, store) if store else None
            runs = _fetch(connection)
        except duckdb.Error as error:
            raise InputError(f"{path}: {reason(error)}") from error
    if not runs:
        raise InputError(f"{path}: {warnings[0] if warnings else 'holds no results yet'}")
    return Reading(runs=runs, warnings=tuple(warnings), added=added)


def _gather(connection: DuckDBPyConnection, path: Path) -> list[str]:
    """Makes table `results` from what the path names; returns the warnings."""
    if not path.exists():
        raise InputError(f"{path}: does not exist; name a folder of results or a .duckdb file")
    if path.is_file() and path.suffix not in (".jsonl", ".parquet"):
        read_store(connection, path)
        return []
    files = _files(path)
    if not files:
        raise InputError(f"{path}: no {LINES} in or below it; name a folder that vlbench run wrote, or one above it")
    warnings = read_files(connection, files)
    folders = {str(file): _folder(file, path) for file in files}
    return [*warnings, *make_results(connection, folders)]


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for kind in (LINES, "*.parquet") for file in path.rglob(kind) if file.is_file())


def _folder(file: Path, root: Path) -> str:
    """How a file's folder is named: relative to the one that is read, or by the name of that one."""
    folder = file if file.suffix == ".parquet" else file.parent
    inner = folder.relative_to(root if root.is_dir() else root.parent)
    return inner.as_posix() if inner.parts else folder.resolve().name


def _fetch(connection: DuckDBPyConnection) -> tuple[HistoryRun, ...]:
    rows = connection.execute(
        f"SELECT *, {MOMENT} AS moment FROM results ORDER BY ordered_at, folder, source, position"
    )
    names = [column[0] for column in rows.description or []]
    return tuple(to_run(dict(zip(names, row, strict=True))) for row in rows.fetchall())

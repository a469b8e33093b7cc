"""The DuckDB file: nothing twice, nothing lost, one clear line where it cannot be used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from synthetic import line, noisy, write_cells, write_series

from vlbench.errors import InputError
from vlbench.regression.history.reading import read_runs


def refused(path: Path, store: Path | None = None) -> str:
    """The one line that is said."""
    with pytest.raises(InputError) as error:
        read_runs(path, store=store)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_added_is_read_back_when_the_folders_are_gone(tmp_path: Path) -> None:
    root = write_series(tmp_path / "results", {"a": [*noisy(4), None], "b": noisy(3)})
    store = tmp_path / "history.duckdb"
    added = read_runs(root, store=store)
    assert added.added == 8
    shutil.rmtree(root)
    assert read_runs(store).runs == added.runs


def test_the_same_line_is_never_there_twice(tmp_path: Path) -> None:
    store = tmp_path / "history.duckdb"
    file = write_cells(tmp_path / "results", [line(day=0), line(day=1)])
    for expected in (2, 0, 0):
        reading = read_runs(tmp_path / "results", store=store)
        assert (reading.added, len(reading.runs)) == (expected, 2)
    write_cells(tmp_path / "results", [line(day=0), line(day=1), line(day=2)])
    shutil.copytree(file.parent, tmp_path / "copy")
    assert read_runs(tmp_path / "results", store=store).added == 1
    assert read_runs(tmp_path / "copy", store=store).added == 0
    assert len(read_runs(store).runs) == 3


def test_a_day_at_a_time_is_the_same_as_all_at_once(tmp_path: Path) -> None:
    """As in CI, where each day's folder has the same name and only the file is kept."""
    values = noisy(12)
    store, today = tmp_path / "history.duckdb", tmp_path / "today"
    for day, value in enumerate(values):
        lines = [line(latency_ms=value, day=day), line(latency_ms=2 * value, day=day - 0.5)]  # a clock set back
        write_cells(today, lines)
        reading = read_runs(today, store=store)
        assert reading.added == 2
    medians = [run.latency_ms for run in reading.runs]
    assert medians == [pytest.approx(value * factor) for value in values for factor in (1, 2)]


def test_stores_can_be_joined(tmp_path: Path) -> None:
    for name in "ab":
        write_cells(tmp_path / name, [line(name), line("both")])
        read_runs(tmp_path / name, store=tmp_path / f"{name}.duckdb")
    joined = read_runs(tmp_path / "a.duckdb", store=tmp_path / "b.duckdb")
    assert (joined.added, len(joined.runs)) == (1, 3)
    assert "leave --store out" in refused(tmp_path / "a.duckdb", tmp_path / "a.duckdb")


def test_a_store_stays_small(tmp_path: Path) -> None:
    heavy = {"restarts": [{"latency_ms": [1.5] * 5000}]}
    for day in range(30):
        write_cells(tmp_path / "results" / str(day), [line(f"m{cell}", day=day, **heavy) for cell in range(20)])
    read_runs(tmp_path / "results", store=tmp_path / "history.duckdb")
    assert (tmp_path / "history.duckdb").stat().st_size < 3e6  # 600 cells; their lines take 18 MB


def test_damaged_lines_do_not_get_in(tmp_path: Path) -> None:
    write_cells(tmp_path / "results", [line(), "damaged", line(day=1)])
    reading = read_runs(tmp_path / "results", store=tmp_path / "history.duckdb")
    assert (reading.added, len(reading.warnings)) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"hello " * 1000, b"\x00" * 4096])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    store = tmp_path / "history.duckdb"
    store.write_bytes(content)
    write_cells(tmp_path / "results", [line()])
    assert "is no DuckDB database" in refused(store)
    assert "is no DuckDB database" in refused(tmp_path / "results", store)
    assert store.read_bytes() == content


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    store = tmp_path / "other.duckdb"
    with duckdb.connect(store) as connection:
        connection.execute("CREATE TABLE runs AS SELECT 1 AS x")
    write_cells(tmp_path / "results", [line()])
    for said in (refused(store), refused(tmp_path / "results", store)):
        assert "not one that vlbench history --store made" in said
    with duckdb.connect(store) as connection:
        assert connection.execute("FROM runs").fetchall() == [(1,)]


@pytest.mark.parametrize(("schema", "age"), [(4, "older"), (6, "newer")])
def test_a_store_of_another_schema_is_left_alone(tmp_path: Path, schema: int, age: str) -> None:
    root, store = write_series(tmp_path / "results", {"a": [50, 51]}), tmp_path / "history.duckdb"
    read_runs(root, store=store)
    with duckdb.connect(store) as connection:
        connection.execute("UPDATE runs SET schema = ?", [schema])
        before = connection.execute("FROM runs").fetchall()
    for said in (refused(store), refused(root, store)):
        assert f"{store}: holds results of schema {schema}, but this vlbench reads schema 5 only" in said
        assert f"use the {age} vlbench that wrote it or name another file" in said
    with duckdb.connect(store) as connection:
        assert connection.execute("FROM runs").fetchall() == before


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    write_cells(tmp_path / "results", [line()])
    assert "--store" in refused(tmp_path / "results", tmp_path / "absent" / "history.duckdb")
    assert "--store" in refused(tmp_path / "results", tmp_path)
    assert "--store" in refused(tmp_path / "results", tmp_path / "results" / "cells.jsonl" / "x.duckdb")


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    store = tmp_path / "history.duckdb"
    write_cells(tmp_path / "first", [line()])
    read_runs(tmp_path / "first", store=store)
    write_cells(tmp_path / "second", [line(f"m{cell}", text="x" * 2000 + str(cell)) for cell in range(3000)])
    code = f"""
import resource, signal
from pathlib import Path
from vlbench.errors import InputError
from vlbench.regression.history.reading import read_runs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    print("added", read_runs(Path({str(tmp_path / "second")!r}), store=Path({str(store)!r})).added)
except InputError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "--store" in said.stdout, said
    assert said.stdout.count("\n") == 1
    assert [run.model for run in read_runs(store).runs] == ["vilt-b32"]


def test_two_processes_at_once(tmp_path: Path) -> None:
    store = tmp_path / "history.duckdb"
    write_cells(tmp_path / "results", [line()])
    read_runs(tmp_path / "results", store=store)
    code = f"import duckdb, sys; c = duckdb.connect({str(store)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout
        assert other.stdin
        other.stdout.readline()
        for said in (refused(tmp_path / "results", store), refused(store)):
            assert "another process has it open" in said
        other.stdin.close()
    assert len(read_runs(store).runs) == 1

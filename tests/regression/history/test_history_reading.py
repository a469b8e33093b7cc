"""What is read of results folders: damage, other schemas, order, duplicates, Parquet."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import duckdb
import pytest
from synthetic import contended, line, write_cells

from tests.conftest import skip_where_busy
from tests.paths import ROOT
from vlbench.errors import InputError
from vlbench.regression.history.reading import read_runs


def test_a_line_of_this_schema(tmp_path: Path) -> None:
    written = line(latency_ms=50, day=3, batch=8, machine={"gpu": "H200", "threads": 4, "driver": "570"})
    write_cells(tmp_path / "a" / "b", [written])
    (run,) = read_runs(tmp_path).runs
    assert (run.folder, run.model, run.status, run.verdict, run.restarts) == ("a/b", "vilt-b32", "ok", "stable", 15)
    assert (run.latency_ms, run.interval_ms) == (50, tuple(written["latency_ms"]["ci95"]))
    assert run.measured_at.isoformat() == "2026-01-08T02:00:00+00:00"
    assert (run.settings.batch, run.settings.threads, run.settings.image_size) == (8, 4, (384, 640))
    assert (run.hardware.gpu, run.hardware.cores, run.hardware.ram_gib) == ("H200", 2, 16)
    versions = {"vlbench": "0.1.0", "os": "Linux 6.1", "python": "3.12.1", "torch": "2.14.0", "driver": "570"}
    assert dict(run.software) == versions


def test_a_single_restart_has_no_interval(tmp_path: Path) -> None:
    latency = {"median": 51.5, "ci95": None, "p90": None, "p99": None, "n": 3, "by_restart": [51.5]}
    write_cells(tmp_path, [line() | {"latency_ms": latency, "noise": None}])
    (run,) = read_runs(tmp_path).runs
    assert (run.latency_ms, run.interval_ms, run.restarts, run.verdict) == (51.5, None, 1, None)
    assert run.judged


@pytest.mark.parametrize(("schema", "age"), [(1, "older"), (4, "older"), (6, "newer")])
def test_a_file_of_another_schema_alone_is_refused_in_one_line(tmp_path: Path, schema: int, age: str) -> None:
    file = write_cells(tmp_path, [line(schema=schema)])
    with pytest.raises(InputError) as error:
        read_runs(tmp_path)
    said = f"{file} line 1: schema {schema}, but this vlbench reads schema 5 only; use the {age} vlbench that wrote it"
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_published_results_of_this_repository_are_read() -> None:
    root = ROOT / "results"
    files = list(root.rglob("cells.jsonl"))
    assert files
    lines = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    reading = read_runs(root)
    assert not reading.warnings
    medians = sorted(content["latency_ms"]["median"] for content in lines if content["latency_ms"])
    assert sorted(run.latency_ms for run in reading.runs if run.latency_ms) == medians


def test_failed_and_contended_cells_are_not_judged(tmp_path: Path) -> None:
    invalid = line(day=2) | {"status": "invalid", "error": "NaN", "latency_ms": None}
    unknown = line(day=3, a_key_of_tomorrow={"x": [1]})
    write_cells(tmp_path, [line(latency_ms=None), contended(line(day=1)), invalid, unknown])
    failed, disturbed, nothing, usual = read_runs(tmp_path).runs
    assert (failed.status, failed.error, failed.latency_ms, failed.judged) == ("failed", "out of memory", None, False)
    assert (disturbed.latency_ms, disturbed.verdict, disturbed.judged) == (50, "contended", False)
    assert (nothing.latency_ms, nothing.judged) == (None, False)
    assert usual.judged


DAMAGED = {
    "cut off": (json.dumps(line())[:300], "no whole result"),
    "garbage": ("}{ \x01", "no whole result"),
    "no object": ("[1, 2]", "no whole result"),
    "another program's": ('{"name": "x"}', "no whole result"),
    "two on a line": (json.dumps(line()) * 2, "no whole result"),
    "older": (json.dumps(line(schema=4)), "schema 4, but this vlbench reads schema 5 only; use the older vlbench"),
    "newer": (json.dumps(line(schema=9)), "schema 9, but this vlbench reads schema 5 only; use the newer vlbench"),
    "without schema": (json.dumps(line(schema=None)), "no schema"),
    "without model": (json.dumps(line(model=None)), "no model"),
    "without time": (json.dumps(line(measured_at="yesterday")), "measured_at yesterday is no time"),
    "without cores": (json.dumps(line(machine={"cores": None})), "no machine.cores"),
    "machine a text": (json.dumps(line() | {"machine": "mine"}), "no machine.cpu"),
    "negative": (json.dumps(line(latency_ms=-1)), "latency_ms.median -1.0 is no latency"),
    "zero": (json.dumps(line(latency_ms=0)), "latency_ms.median 0.0 is no latency"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_line_is_named_and_all_others_are_read(tmp_path: Path, kind: str) -> None:
    text, reason = DAMAGED[kind]
    for folder in range(5):
        write_cells(tmp_path / f"run-{folder}", [line(day=folder)])
    file = write_cells(tmp_path / "run-2", [line(day=2), "", text, line(day=2.5)])
    reading = read_runs(tmp_path)
    assert len(reading.runs) == 6
    (warning,) = reading.warnings
    assert warning.startswith(f"{file} line 3: {reason}")
    assert warning.endswith("; left out")
    assert "\n" not in warning


def test_many_damaged_lines_of_a_file_are_one_warning(tmp_path: Path) -> None:
    file = write_cells(tmp_path, ["x", line(), "y", "z", "", json.dumps(line(schema=9))])
    reading = read_runs(tmp_path)
    assert len(reading.runs) == 1
    assert [warning.split(":")[0] for warning in reading.warnings] == [
        f"{file} line 1 and 2 more lines",
        f"{file} line 6",
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\n", b"\x00" * 5000, random.Random(0).randbytes(200_000)])
def test_a_file_of_anything_stops_no_other(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cells.jsonl").write_bytes(content)
    write_cells(tmp_path / "b", [line(), line(day=1)])
    reading = read_runs(tmp_path)
    assert len(reading.runs) == 2
    assert reading.warnings
    assert all(warning.startswith(f"{tmp_path / 'a' / 'cells.jsonl'}") for warning in reading.warnings)


def test_no_damage_costs_another_line(tmp_path: Path) -> None:
    """DuckDB before 2.0 took the line after one that is cut off for its rest."""
    generator = random.Random(1)
    expected = set()
    for folder in range(150):
        lines = [json.dumps(line(f"{folder}-{place}", day=place)) for place in range(4)]
        damaged = generator.randrange(4)
        text = lines[damaged]
        start, end = sorted(generator.choices(range(1, len(text)), k=2))
        sign = generator.choice(["{", "}", '"', "[", "\\", ",", "\x00", "\r", "\ufeff", '{"a": 1}'])
        lines[damaged] = generator.choice(
            [text[:end], text[end:], text[:start] + text[end:], sign, text[:end] + sign + text[end:]]
        )
        write_cells(tmp_path / str(folder), lines)
        expected |= {f"{folder}-{place}" for place in range(4) if place != damaged}
    assert expected <= {run.model for run in read_runs(tmp_path).runs}


def test_a_last_line_without_its_end_is_whole_or_named(tmp_path: Path) -> None:
    text = json.dumps(line()) + "\n" + json.dumps(line(day=1))
    for cut, runs, warnings in ((0, 2, 0), (1, 1, 1), (700, 1, 1)):
        (tmp_path / "cells.jsonl").write_text(text[: len(text) - cut])
        reading = read_runs(tmp_path)
        assert (len(reading.runs), len(reading.warnings)) == (runs, warnings)


def test_an_empty_file_and_a_dangling_link_among_others(tmp_path: Path) -> None:
    write_cells(tmp_path / "a", [line()])
    write_cells(tmp_path / "b", [])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cells.jsonl").symlink_to(tmp_path / "gone")
    (tmp_path / "d" / "cells.jsonl").mkdir(parents=True)
    assert len(read_runs(tmp_path).runs) == 1


def test_signs_of_patterns_in_a_name_are_only_signs(tmp_path: Path) -> None:
    names = ["a[1]", "a1", "b*", "bb", "c?", "it's {x}", "ü ñ"]
    for day, name in enumerate(names):
        write_cells(tmp_path / name, [line(day=day)])
    assert [run.folder for run in read_runs(tmp_path).runs] == names
    assert len(read_runs(tmp_path / "a[1]").runs) == 1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.mkdir(), "no cells.jsonl in or below it"),
        (lambda folder: write_cells(folder, []), "holds no results yet"),
        (lambda folder: write_cells(folder, ["x"]), "line 1: no whole result"),
    ],
)
def test_nothing_to_read_is_one_line(tmp_path: Path, make: object, said: str) -> None:
    make(tmp_path / "results")
    with pytest.raises(InputError) as error:
        read_runs(tmp_path / "results")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_runs_are_in_the_order_measured(tmp_path: Path) -> None:
    for day in (3, 1, 2, 0):
        write_cells(tmp_path / f"z{9 - day}", [line(latency_ms=10 + day, day=day)])
    assert [run.latency_ms for run in read_runs(tmp_path).runs] == [10, 11, 12, 13]


def test_times_of_other_zones_are_compared_as_times(tmp_path: Path) -> None:
    write_cells(tmp_path / "a", [line(latency_ms=1, measured_at="2026-01-05T10:00:00+09:00")])
    write_cells(tmp_path / "b", [line(latency_ms=2, measured_at="2026-01-05T02:00:00Z")])
    write_cells(tmp_path / "c", [line(latency_ms=3, measured_at="2026-01-04T23:00:00-05:00")])
    assert [run.latency_ms for run in read_runs(tmp_path).runs] == [1, 2, 3]


def test_a_clock_set_back_does_not_reorder_a_file(tmp_path: Path) -> None:
    days = [5, 6, 6, 2, 3, 7]
    write_cells(tmp_path / "a", [line(latency_ms=place + 1, day=day) for place, day in enumerate(days)])
    write_cells(tmp_path / "b", [line(latency_ms=100, day=6.5), line(latency_ms=101, day=4)])
    assert [run.latency_ms for run in read_runs(tmp_path).runs] == [1, 2, 3, 4, 5, 100, 101, 6]


def test_a_line_that_lies_in_two_folders_is_read_once(tmp_path: Path) -> None:
    lines = [line(day=day) for day in range(3)]
    write_cells(tmp_path / "a", lines)
    write_cells(tmp_path / "copy of a", [*lines, line(day=3)])
    assert [run.folder for run in read_runs(tmp_path).runs] == ["a", "a", "a", "copy of a"]


def test_runners_alike_that_measure_in_the_same_second_are_all_kept(tmp_path: Path) -> None:
    write_cells(tmp_path / "a", [line(latency_ms=50)])
    write_cells(tmp_path / "b", [line(latency_ms=51)])
    write_cells(tmp_path / "c", [line(latency_ms=50, machine={"cpu": "another"})])
    assert len(read_runs(tmp_path).runs) == 3


def test_parquet_files_hold_rows_of_the_same_shape(tmp_path: Path) -> None:
    lines = [line(day=day, latency_ms=50 + day) for day in range(3)] + [line(day=3, latency_ms=None)]
    file = write_cells(tmp_path / "lines", lines)
    (tmp_path / "rows").mkdir()
    rows = tmp_path / "rows" / "january [1].parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM read_json_auto('{file}')) TO '{rows}'")
        connection.execute(f"COPY (SELECT 1 AS x) TO '{tmp_path / 'other.parquet'}'")
    from_lines = read_runs(tmp_path / "lines").runs
    from_rows = read_runs(tmp_path / "rows").runs
    assert [run.folder for run in from_rows] == ["january [1].parquet"] * 4
    for run, same in zip(from_lines, from_rows, strict=True):
        assert (run.latency_ms, run.interval_ms, run.measured_at) == (
            same.latency_ms,
            same.interval_ms,
            same.measured_at,
        )
        assert (run.settings, run.hardware, run.software) == (same.settings, same.hardware, same.software)
    both = read_runs(tmp_path)
    assert len(both.runs) == 4  # each once
    assert both.warnings == (
        f"{tmp_path / 'other.parquet'}: has no column schema, so holds no results of vlbench; left out",
    )


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write_cells(tmp_path, [line()])
    (tmp_path / "x.parquet").write_text("PAR1 not really")
    reading = read_runs(tmp_path)
    assert len(reading.runs) == 1
    assert "x.parquet" in reading.warnings[0]


@pytest.mark.serial
def test_raw_samples_cost_little(tmp_path: Path) -> None:
    """40 MB, a 25th of 500 folders of 20 cells with 0.1 MB of samples each, which take 1.2 s on two cores."""
    samples = [round(45 + place / 700, 6) for place in range(660)]
    heavy = {"restarts": [{"latency_ms": samples, "measured_at": "x"}] * 15}
    for day in range(20):
        write_cells(tmp_path / f"run-{day}", [line(f"model-{cell}", day=day, **heavy) for cell in range(20)])
    start = time.perf_counter()
    assert len(read_runs(tmp_path).runs) == 400
    seconds = time.perf_counter() - start
    if seconds >= 3:
        skip_where_busy()
    assert seconds < 3

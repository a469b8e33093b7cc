"""Which folders are read, what they are called, and one line for what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.written import evaluated, folder_of, line
from vlbench.errors import InputError
from vlbench.report.folders import read_folders


def labels(*paths: Path) -> list[str]:
    return [folder.label for folder in read_folders(paths)]


def test_a_folder_without_results_stands_for_those_below_it(tmp_path: Path) -> None:
    folder_of(tmp_path / "two" / "b", line("b"))
    folder_of(tmp_path / "one" / "a", line("a"))
    folder_of(tmp_path / "one" / "c", evaluations=[evaluated("c", 0.5)])
    found = read_folders([tmp_path])
    assert [(folder.label, len(folder.results), len(folder.evaluations)) for folder in found] == [
        ("a", 1, 0),
        ("c", 0, 1),
        ("b", 1, 0),
    ]


def test_a_folder_with_results_stands_for_itself_alone(tmp_path: Path) -> None:
    folder_of(tmp_path, line("a"))
    folder_of(tmp_path / "below", line("b"))
    assert [result.model for folder in read_folders([tmp_path]) for result in folder.results] == ["a"]


def test_folders_are_read_once_in_the_order_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        folder_of(tmp_path / name, line(name))
    monkeypatch.chdir(tmp_path)
    assert labels(Path("b"), Path("a"), tmp_path / "b", Path("a/../b"), Path()) == ["b", "a"]


def test_labels_are_as_long_as_tells_folders_apart(tmp_path: Path) -> None:
    paths = [folder_of(tmp_path / name, line("a")) for name in ("x/main/cells", "y/main/cells", "z")]
    assert labels(*paths[::2]) == ["cells", "z"]
    assert len(set(labels(*paths))) == 3
    assert labels(*paths[:2]) == ["x/main/cells", "y/main/cells"]


def test_the_latest_line_of_a_cell_stands_where_the_first_stood(tmp_path: Path) -> None:
    folder_of(tmp_path, line("a"), line("b"), line("a", measured_at="later"))
    (folder,) = read_folders([tmp_path])
    assert [(one.model, one.measured_at == "later") for one in folder.results] == [("a", True), ("b", False)]


def test_a_last_line_that_was_cut_off_is_told_and_left_out(tmp_path: Path) -> None:
    whole = json.dumps(line("a"))
    (tmp_path / "cells.jsonl").write_text(f"{whole}\n{whole[:100]}")
    told: list[str] = []
    (folder,) = read_folders([tmp_path], told.append)
    assert len(folder.results) == 1
    assert len(told) == 1
    assert "line 2: cut off" in told[0]


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name != key}


DAMAGED = {
    "no JSON": '{"schema": 5,',
    "no object": "[1]",
    "another schema": json.dumps(line("a", schema=9)),
    "a key too few": json.dumps(without(line("a"), "machine")),
    "a key too many": json.dumps(line("a", colour="red")),
    "a word for a figure": json.dumps(line("a", macs="many")),
    "an older schema": json.dumps(line("a", schema=4)),
    "a summary without its restarts": json.dumps(line("a", latency_ms={"median": 1.0})),
    "a number for its latency": json.dumps(line("a", latency_ms=3)),
    "without its date": json.dumps(without(line("a"), "measured_at")),
}


@pytest.mark.parametrize("damaged", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_line_is_told_in_one_line(tmp_path: Path, damaged: str) -> None:
    whole = json.dumps(line("a"))
    (tmp_path / "cells.jsonl").write_text(f"{whole}\n{damaged}\n{whole}\n")
    with pytest.raises(InputError, match="line 2") as told:
        read_folders([tmp_path])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"suites": 3}', '{"suites": ["x"], "cells": []}', '{"cut'])
def test_a_damaged_reproduction_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "reproduction.json").write_text(content)
    with pytest.raises(InputError, match=r"reproduction.json: .*vlbench reproduce --out") as told:
        read_folders([tmp_path])
    assert "\n" not in str(told.value)


def test_where_nothing_is_one_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a folder of results$"):
        read_folders([tmp_path / "absent"])
    with pytest.raises(InputError, match="in or below it; vlbench run writes some"):
        read_folders([tmp_path])
    folder_of(tmp_path, line("a"))
    with pytest.raises(InputError, match=f"name its folder, {tmp_path}"):
        read_folders([tmp_path / "cells.jsonl"])


def test_a_folder_whose_cells_are_none_yet_is_read_as_such(tmp_path: Path) -> None:
    (tmp_path / "cells.jsonl").touch()
    (folder,) = read_folders([tmp_path])
    assert folder.results == ()

"""`vlbench reproduce` from the outside: exit codes, forms, what is kept, figures."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.command_line import vlbench
from tests.conftest import skip_where_busy
from tests.helpers import write_tiny, write_yaml
from vlbench.suites.reader import suite_paths

KEYS = {"suite", "row", "model", "quantity", "measured", "reported", "error", "tolerance", "verdict", "erratum"}


def tiny_suite(folder: Path, **changes: object) -> Path:
    """Two tiny models and a suppression, timed for a moment."""
    for model in ("vilt-b32", "uniter-base"):
        write_tiny(folder, model)
    content = {
        "name": "tiny",
        "title": "Two tiny models",
        "source": {"paper": "none", "note": "Nothing is reproduced here."},
        "settings": {"budget_seconds": 0.3},
        "columns": [
            {"name": "layers", "title": "layers", "quantity": "components.layers", "cells": "parts", "tolerance": 0},
            {"name": "macs", "title": "MACs", "quantity": "macs", "cells": "flops"},
            {"name": "time", "title": "time", "quantity": "latency_ms", "cells": "latency", "unit": "ms"},
        ],
        "rows": [
            {
                "label": "patch",
                "model": "vilt-b32-tiny.yaml",
                "reported": {"layers": 2},
                "erratum": {"layers": "So it is."},
            },
            {"label": "region", "model": "uniter-base-tiny.yaml", "reported": {"layers": 2, "time": 900}},
        ],
        "claims": [
            {"text": "regions cost more", "expr": 'macs["region"] > macs["patch"]'},
            {"text": "regions take longer", "expr": 'time["region"] / time["patch"] > 1'},
        ],
        "figure": {"kind": "bars", "columns": ["macs", "time"]},
    }
    return write_yaml(folder / "tiny.yaml", content | changes)


@pytest.mark.slow
def test_every_counted_cell_of_every_suite_is_within_its_tolerance_and_nothing_is_timed() -> None:
    begun = time.monotonic()
    process = vlbench("reproduce", "--cells", "params,flops,parts", "--format", "json")
    found = json.loads(process.stdout)
    assert [cell for cell in found["cells"] if cell["verdict"] in ("outside", "not measured")] == []
    assert process.returncode == 0, process.stderr
    seconds = time.monotonic() - begun
    assert {suite["name"] for suite in found["suites"]} == set(suite_paths())
    assert len([cell for cell in found["cells"] if cell["suite"] == "vilt-table6"]) == 11 * 3
    if seconds >= 120:
        skip_where_busy()
    assert seconds < 120
    assert "latency" not in {cell["category"] for cell in found["cells"]}
    assert found["machine"] is None
    assert "results:" not in process.stderr, "nothing was timed, so nothing is kept"


def test_a_whole_run_then_one_that_keeps_all(tmp_path: Path) -> None:
    suite, out = tiny_suite(tmp_path), tmp_path / "out"
    options = ("--threads", 1, "--device", "cpu", "--out", out)
    first = vlbench("reproduce", suite, *options, "--format", "json", "--figures", tmp_path / "drawn")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert len(found["cells"]) == 2 * 3
    assert all(set(cell) >= KEYS for cell in found["cells"])
    assert {claim["verdict"] for claim in found["claims"]} <= {"holds", "does not hold", "cannot tell"}
    assert found["claims"][0]["verdict"] == "holds"
    times = [cell for cell in found["cells"] if cell["quantity"] == "time"]
    assert all(cell["verdict"] == "measured" and cell["measured"] > 0 and cell["interval"] for cell in times)
    lines = (out / "cells.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in lines} == {"vilt-b32-tiny", "uniter-base-tiny"}
    assert {path.name for path in out.iterdir()} == {
        "cells.jsonl",
        "peaks.jsonl",
        "reproduction.md",
        "reproduction.json",
    }
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"tiny.png", "tiny.svg"}
    assert (tmp_path / "drawn" / "tiny.png").read_bytes().startswith(b"\x89PNG")

    second = vlbench("reproduce", suite, *options)
    assert second.returncode == 0, second.stderr
    assert "kept from" in second.stderr
    assert (out / "cells.jsonl").read_text().splitlines() == lines
    for words in ("[1] So it is.", "Nothing is reproduced here.", "regions take longer", "Machine: ", "900"):
        assert words in second.stdout


@pytest.mark.slow
def test_quick_says_so_and_times_suppressions(tmp_path: Path) -> None:
    rows = [{"label": "boxes", "suppression": {"boxes": 40, "classes": 20}}]
    column = {"name": "loop", "title": "loop", "quantity": "suppression_ms.per_class_loop", "cells": "latency"}
    claims = [{"text": "fast", "expr": 'loop["boxes"] < 1e9'}]
    figure = {"kind": "bars", "columns": ["loop"]}
    suite = tiny_suite(tmp_path, rows=rows, columns=[column], claims=claims, figure=figure)
    out = tmp_path / "out"
    process = vlbench("reproduce", suite, "--quick", "--device", "cpu", "--format", "markdown", "--out", out)
    assert process.returncode == 0, process.stderr
    assert "Small settings (--quick)" in process.stdout
    assert "timed at small settings" in process.stdout
    (line,) = (out / "suppressions.jsonl").read_text().splitlines()
    assert json.loads(line)["cell"]["boxes"] == 10


@pytest.mark.slow
def test_rows_are_compared_through_the_backends_that_they_name(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    rows = [
        {"label": "eager", "model": "vilt-b32-tiny.yaml", "backend": "eager"},
        {"label": "runtime", "model": "vilt-b32-tiny.yaml"},
        {"label": "whole", "model": "vilt-b32-tiny.yaml", "scope": "model"},
    ]
    claims = [{"text": "they differ", "expr": 'time["eager"] != time["runtime"]'}]
    suite, out = tiny_suite(tmp_path, rows=rows, claims=claims), tmp_path / "out"
    options = ("--backend", "onnxruntime", "--device", "cpu", "--threads", 1, "--restarts", 1, "--cells", "latency")
    process = vlbench("reproduce", suite, *options, "--format", "json", "--out", out)
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert [cell["measured"] > 0 for cell in answer["cells"]] == [True, True, True]
    assert (answer["settings"]["backend"], answer["settings"]["scope"]) == ("onnxruntime", "stages")
    lines = [json.loads(line) for line in (out / "cells.jsonl").read_text().splitlines()]
    assert {(line["backend"], line["scope"]) for line in lines} == {
        ("eager", None),
        ("onnxruntime", "stages"),
        ("onnxruntime", "model"),
    }


def test_a_cell_outside_its_tolerance_is_exit_code_1(tmp_path: Path) -> None:
    rows = [{"label": "patch", "model": "vilt-b32-tiny.yaml", "reported": {"layers": 3}}]
    suite = tiny_suite(tmp_path, rows=rows, claims=[])
    process = vlbench("reproduce", suite, "--cells", "parts", "--format", "latex")
    assert process.returncode == 1
    assert "% Outside its tolerance: patch layers" in process.stdout
    assert r"\toprule" in process.stdout
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reproduce", "vilt-tabel6"), "no suite 'vilt-tabel6'; did you mean vilt-table6?"),
        (("reproduce", "vilt-table6", "--cells", "flop"), "--cells: no category 'flop'; did you mean flops?"),
        (("reproduce", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("reproduce", "vilt-table6", "--format", "csv"), "'table', 'json', 'markdown', 'latex'"),
        (("reproduce", "vilt-table6", "--budget", "0"), "--budget"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(arguments: tuple, said: str) -> None:
    process = vlbench(*arguments)
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1
    assert said in process.stderr


def test_a_suite_that_does_not_hold_together_is_one_line(tmp_path: Path) -> None:
    claims = [{"text": "no such column", "expr": 'tmie["patch"] < 3'}]
    process = vlbench("reproduce", tiny_suite(tmp_path, claims=claims))
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "no column 'tmie'; did you mean time?" in process.stderr


def test_the_list_of_suites() -> None:
    process = vlbench("list", "suites")
    assert process.returncode == 0, process.stderr
    assert "vilt-table6" in process.stdout

"""Frames hold what the JSON lines say, whichever these are, in columns whose kinds never change."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import vlbench
from tests.paths import RESULTS
from tests.report.written import evaluated, failed, folder_of, line, one_restart, summary
from vlbench.report import columns
from vlbench.runner.execution import in_order
from vlbench.runner.reader import read_results

FRAMES = {"cells": columns.CELLS, "stages": columns.STAGES, "samples": columns.SAMPLES}
FRAMES |= {"accuracy": columns.ACCURACY, "reported": columns.REPORTED, "claims": columns.CLAIMS}


def rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """With None for each gap."""
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")
    ]


def lines_of(folder: Path, name: str = "cells.jsonl") -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / name).read_text(encoding="utf-8").splitlines()]


def samples_in(one: dict[str, Any]) -> int:
    """Counted in the JSON."""
    return sum(
        len(restart["latency_ms"])
        + sum(map(len, restart["latency_ms_by_stage"].values()))
        + len(restart.get("input_ms", ()))
        for restart in one.get("restarts", ())
    )


def published() -> list[Path]:
    found = sorted(path.parent for path in RESULTS.rglob("cells.jsonl"))
    assert len(found) >= 6
    return found


@pytest.mark.parametrize("folder", published(), ids=lambda path: str(path.relative_to(RESULTS)))
def test_the_published_cells_are_told_as_their_lines_tell_them(folder: Path) -> None:
    by_hash = {one["cell_hash"]: one for one in lines_of(folder)}
    found, lines = vlbench.read(folder), [by_hash[result.cell_hash] for result in in_order(read_results(folder))]
    assert len(found.cells) == len(lines) == len(lines_of(folder))
    for row, content in zip(rows(found.cells), lines, strict=True):
        for name in (
            "model",
            "family",
            "device",
            "backend",
            "precision",
            "batch",
            "params_total",
            "macs",
            "flops",
            "spec_hash",
        ):
            assert row[name] == content[name]
        assert row["peak_memory_bytes"] == content["peak_memory_bytes"]
        assert (row["image_height"], row["image_width"]) == tuple(content["image_size"])
        assert row["latency_ms"] == content["latency_ms"]["median"]
        interval = (row["latency_ms_low"], row["latency_ms_high"])
        assert interval == tuple(content["latency_ms"]["ci95"] or (None, None))
    stages = {(row["cell"], row["stage"]): row for row in rows(found.stages)}
    for cell, content in zip(found.cells["cell"], lines, strict=True):
        for stage, latency in content["latency_ms_by_stage"].items():
            assert stages[cell, stage]["latency_ms"] == latency["median"]
            assert stages[cell, stage]["macs"] == content["macs_by_stage"].get(stage)
    assert len(found.samples) == sum(map(samples_in, lines))


def test_all_published_folders_are_read_together_and_each_cell_has_its_name() -> None:
    found = vlbench.read(RESULTS)
    assert len(found.samples) == sum(samples_in(one) for folder in published() for one in lines_of(folder))
    assert not found.cells.duplicated(["folder", "cell"]).any()
    evaluations = [one for path in RESULTS.rglob("evaluations.jsonl") for one in lines_of(path.parent, path.name)]
    assert len(found.accuracy) == sum(len(one["accuracy"]["metrics"]) for one in evaluations)
    reproduced = {path.parent.name: json.loads(path.read_text()) for path in RESULTS.rglob("reproduction.json")}
    for folder, outcome in reproduced.items():
        assert (found.reported["folder"] == folder).sum() == len(outcome["cells"])
        assert (found.claims["folder"] == folder).sum() == len(outcome["claims"])


def test_a_run_is_held_against_the_papers_too() -> None:
    """Where a row of a suite is of the very model that was measured; benchmarks/vilt-table6.yaml has the figures."""
    found = vlbench.read(RESULTS / "epyc-2-cores").reported
    assert len(found)
    assert set(found["row"]) == {
        "ViLT-B/32",
        "Pixel-BERT-R50",
    }  # uniter-base is not Table 6's, whose detector is lighter
    own = found[(found["suite"] == "vilt-table6") & (found["row"] == "ViLT-B/32")].set_index("quantity")
    assert own["reported"].to_dict() == {"params": 87.4, "flops": 55.9, "time": 15.0, "ratio": 1.0}
    (line,) = [one for one in lines_of(RESULTS / "epyc-2-cores") if one["model"] == "vilt-b32"]
    assert own.loc["time", "measured"] == line["latency_ms"]["median"]
    assert own.loc["params", "measured"] == line["params_table6"] / 1e6
    assert "mixes conventions" in own.loc["flops", "erratum"]
    assert found["measured"].notna().all()


def test_other_models_are_held_against_nothing(tmp_path: Path) -> None:
    found = vlbench.read(folder_of(tmp_path, line("vilt-b32", spec_hash="another")))
    assert len(found.reported) == len(found.claims) == 0


def test_what_a_cell_and_its_stages_and_samples_say(tmp_path: Path) -> None:
    found = vlbench.read(folder_of(tmp_path, line("vilt-b32")))
    (cell,) = rows(found.cells)
    assert (
        cell
        | {
            "folder": tmp_path.name,
            "cell": "vilt-b32",
            "threads": 2,
            "machine": "EPYC 7, 2 cores",
            "params_total": 111_596_546,
            "peak_memory_bytes": 500 * 2**20,
            "latency_ms": 8.0,
            "latency_ms_low": 7.0,
            "latency_ms_high": 9.0,
            "latency_ms_p90": None,
            "restarts": 6,
            "noise": "stable",
            "noise_reasons": None,
            "status": "ok",
            "error": None,
        }
        == cell
    )
    stages = [(row["stage"], row["of"], row["share"], row["params"], row["macs"]) for row in rows(found.stages)]
    assert stages == [
        ("total", None, 1.0, None, None),
        ("visual", None, 0.25, 10, 20),
        ("visual.patch", "visual", 0.125, None, None),
        ("head", None, 0.75, None, None),
        ("text", None, None, None, 0),
    ]
    samples = [(row["restart"], row["stage"], row["sample"], row["latency_ms"]) for row in rows(found.samples)]
    once = [("end to end", 1, 7.0), ("end to end", 2, 9.0), ("total", 1, 8.0), ("visual", 1, 2.0)]
    once += [("visual.patch", 1, 1.0), ("head", 1, 6.0)]
    assert samples == [(restart, *one) for restart in (1, 2) for one in once]


def test_one_restart_beside_many_and_none(tmp_path: Path) -> None:
    lines = [one_restart("a"), one_restart("b"), line("c"), failed("d")]
    found = vlbench.read(folder_of(tmp_path, *lines))
    told = [(row["model"], row["latency_ms"], row["latency_ms_low"], row["noise"]) for row in rows(found.cells)]
    assert told == [("a", 2.0, None, None), ("b", 2.0, None, None), ("c", 8.0, 7.0, "stable"), ("d", None, None, None)]
    assert len(found.samples) == sum(map(samples_in, lines)) == 4 + 4 + 12
    assert list(found.samples.loc[found.samples["model"] == "a", "latency_ms"]) == [1.0, 2.0, 3.0, 4.0]


def test_failed_and_invalid_cells_have_their_reason_and_no_latency(tmp_path: Path) -> None:
    invalid = line("b", status="invalid", error="no region was found", latency_ms=None, restarts=[])
    found = vlbench.read(folder_of(tmp_path, failed("a"), invalid))
    first, second = rows(found.cells)
    assert (first["status"], first["error"], first["params_total"]) == ("failed", "out of memory: 51 TB", None)
    assert (second["status"], second["error"]) == ("invalid", "no region was found")
    assert second["params_total"] == 111_596_546
    assert found.cells["latency_ms"].isna().all()
    assert found.stages["latency_ms"].isna().all()
    assert len(found.samples) == 0


@pytest.mark.parametrize("lines", [[], [failed("a")], [line("a")], [one_restart("a"), failed("b")]])
def test_every_column_holds_the_same_kind_whatever_is_held(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    """A latency of whole milliseconds is no whole number, and a count beside a gap is one."""
    folder_of(tmp_path, *lines, evaluations=[evaluated("a", 1.0)] if lines else ())
    (tmp_path / "cells.jsonl").touch()
    found = vlbench.read(tmp_path)
    for name, expected in FRAMES.items():
        assert {column: str(kind) for column, kind in getattr(found, name).dtypes.items()} == expected
    assert len(found.cells) == len(lines)


def test_accuracies_are_a_row_a_metric(tmp_path: Path) -> None:
    training = {"preset": "tiny", "samples": 10, "seconds": 2.5, "seed": 3}
    lines = [evaluated("a", 0.5, 0.25, 0.75), evaluated("b", 1.0, training=training)]
    found = rows(vlbench.read(folder_of(tmp_path, line("a"), evaluations=lines)).accuracy)
    names = ("model", "metric", "first", "value", "value_low", "value_high", "n", "majority", "seed")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("a", "accuracy", True, 0.5, 0.25, 0.75, 1000, 0.25, None),
        ("a", "other", False, 1.0, None, None, 10, None, None),
        ("b", "accuracy", True, 1.0, None, None, 1000, 0.25, 3),
        ("b", "other", False, 1.0, None, None, 10, None, 3),
    ]
    assert [row["training_seconds"] for row in found] == [None, None, 2.5, 2.5]


def test_what_prepares_an_example_is_of_a_cell_and_no_stage(tmp_path: Path) -> None:
    restart = line("a")["restarts"][0] | {"input_ms": [3.0, 5.0]}
    found = vlbench.read(folder_of(tmp_path, line("a", restarts=[restart], input_ms=summary(4.0, 3.0, 5.0)), line("b")))
    told = [(row["input_ms"], row["input_ms_low"], row["input_ms_high"]) for row in rows(found.cells)]
    assert told == [(4.0, 3.0, 5.0), (None, None, None)]
    assert "input" not in set(found.stages["stage"])
    of_input = found.samples[found.samples["stage"] == "input"]
    assert list(zip(of_input["cell"], of_input["latency_ms"], strict=True)) == [("a", 3.0), ("a", 5.0)]


def test_reported_figures_and_words_and_claims(tmp_path: Path) -> None:
    cell = {"suite": "s", "row": "r", "model": "m", "quantity": "q", "category": "params", "unit": "M"}
    cell |= {"measured": 2, "reported": 4, "error": -0.5, "tolerance": None, "interval": None, "verdict": "outside"}
    cell |= {"reason": None, "erratum": "a slip"}
    words = cell | {"measured": "384x640", "reported": None, "error": None, "verdict": "measured"}
    claim = {"suite": "s", "text": "t", "where": "w", "expr": "a > b", "verdict": "holds", "value": 3}
    claim |= {"interval": [2, 4], "reason": None}
    content = {"quick": False, "machine": None, "settings": None, "suites": [{"name": "s", "title": "S"}]}
    (tmp_path / "reproduction.json").write_text(json.dumps(content | {"cells": [cell, words], "claims": [claim]}))
    found = vlbench.read(tmp_path)
    first, second = rows(found.reported)
    assert (first["measured"], first["reported"], first["error"], first["erratum"]) == (2.0, 4.0, -0.5, "a slip")
    assert (second["measured"], second["measured_words"]) == (None, "384x640")
    (told,) = rows(found.claims)
    assert (told["claim"], told["value"], told["value_low"], told["value_high"]) == ("t", 3.0, 2.0, 4.0)


def test_five_hundred_cells_are_quick(tmp_path: Path) -> None:
    """60,000 samples; the bar is ten times what two slow cores take."""
    stages = {"total": [8.0] * 20, "visual": [2.0] * 20, "head": [6.0] * 20}
    restart = {"latency_ms": [7.0] * 60, "latency_ms_by_stage": stages, "warm_up": {"n": 1, "steady": True}}
    restart |= {"measured_at": "now"}
    lines = [line(f"m{number}", restarts=[restart]) for number in range(500)]
    found = vlbench.read(folder_of(tmp_path, *lines))
    began = time.perf_counter()
    assert len(found.samples) == 60_000
    assert len(found.cells) == 500
    assert len(found.stages) == 500 * 5
    assert time.perf_counter() - began < 5


def test_of_one_cell_the_latest_line_of_each_machine_counts(tmp_path: Path) -> None:
    later, elsewhere = summary(5.0, 4.0, 6.0), line("a")["machine"] | {"cpu": "Xeon 5"}
    folder_of(tmp_path, line("a"), line("b"), line("a", machine=elsewhere), line("a", latency_ms=later))
    found = rows(vlbench.read(tmp_path).cells)
    assert [(row["cell"], row["latency_ms"]) for row in found] == [
        ("a, EPYC 7, 2 cores", 5.0),
        ("b", 8.0),
        ("a, Xeon 5, 2 cores", 8.0),
    ]

"""`vlbench count`: tables by stage and depth, counters side by side, JSON and CSV, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest

from tests.command_line import vlbench
from tests.helpers import others_slow, tiny, write_tiny
from vlbench.architectures.count import count, count_by_module
from vlbench.report.count_tables import CountedModel, count_tables, counts_csv, counts_json
from vlbench.specs.catalog import catalog


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models"))


def test_a_model_by_stage_with_three_counters(model: Path) -> None:
    process = vlbench("count", model, "--counter", "vlbench,fvcore,torch", "--format", "markdown")
    assert process.returncode == 0, process.stderr
    caption, _, heads, _, *rows = process.stdout.splitlines()
    assert "1 MAC = 1 multiply-accumulate; FLOPs = 2 x MACs; each parameter counts once" in caption
    assert [head.strip() for head in heads.split("|")[1:-1]] == [
        *("stage", "params M", "vlbench GMACs", "fvcore GMACs", "torch GMACs"),
        *("fvcore / vlbench", "torch / vlbench", "moved MB"),
    ]
    stages = [row.split("|")[1].strip() for row in rows if row.startswith("|")]
    assert stages == ["total", "text", "visual", "visual.patch", "interaction", "head"]
    assert rows[0].split("|")[7].strip() == "1.0000"
    assert "fvcore skipped" in process.stdout
    assert "fvcore also counts layer\\_norm" in process.stdout or "fvcore also counts layer_norm" in process.stdout


def test_json_has_every_module_and_the_figures_of_a_run(model: Path) -> None:
    (counts,) = json.loads(vlbench("count", model, "--format", "json", "--batch", 2).stdout)
    measured = count(tiny("vilt-b32"), batch=2)
    assert (counts["model"], counts["status"], counts["batch"]) == ("vilt-b32-tiny", "ok", 2)
    assert counts["modules"][0] == {
        "path": "",
        "type": "VLModel",
        "params": measured.params_total,
        "macs": {"vlbench": measured.macs},
        "bytes_moved": measured.bytes_moved,
    }
    assert {row["path"]: row["macs"]["vlbench"] for row in counts["stages"]} == measured.macs_by_stage
    assert {row["path"]: row["params"] for row in counts["stages"]} == measured.params_by_stage
    assert {row["path"]: row["bytes_moved"] for row in counts["stages"]} == measured.bytes_moved_by_stage
    by_path = {row["path"]: row["macs"]["vlbench"] for row in counts["modules"]}
    assert by_path["visual"] == measured.macs_by_stage["visual"]
    assert max(path.count(".") for path in by_path) >= 3


def test_a_depth_chooses_the_rows_of_several_models() -> None:
    models = [
        CountedModel(model=name, batch=1, image_size=(32, 32), text_tokens=0, counts=count_by_module(tiny(name)))
        for name in ("vilt-b32", "clip-vit-b32")
    ]
    rows = [(row["model"], row["path"]) for row in csv.DictReader(io.StringIO(counts_csv(models, 1)))]
    assert rows[:5] == [("vilt-b32", path) for path in ("", "text", "visual", "interaction", "head")]
    (table,) = count_tables(models, 0)
    assert table.names == ["model", "module", "params M", "GMACs", "moved MB"]
    assert [row[:2] for row in table.rows] == [("vilt-b32", "total"), ("clip-vit-b32", "total")]


FIRST = ("vilt-b32", "uniter-base", "hf-clip-vit-b32")


@pytest.mark.parametrize("name", others_slow([*FIRST, *sorted(catalog().keys() - set(FIRST))], first=len(FIRST)))
def test_stages_have_the_figures_of_a_measurement(name: str) -> None:
    counts, measured = count_by_module(tiny(name)), count(tiny(name))
    assert {row.path: row.macs["vlbench"] for row in counts.stages} == measured.macs_by_stage
    assert {row.path: row.params for row in counts.stages} == measured.params_by_stage
    assert {row.path: row.bytes_moved for row in counts.stages} == measured.bytes_moved_by_stage
    assert counts.total.macs["vlbench"] == measured.macs


def test_what_has_no_agreed_macs_is_listed() -> None:
    assert count_by_module(tiny("uniter-base")).counters["vlbench"].skipped.keys() == {"torchvision::roi_pool"}


def test_a_model_that_cannot_be_counted_is_named_with_its_reason() -> None:
    failed = CountedModel(model="broken", batch=1, image_size=(32, 32), text_tokens=0, counts="out of memory: 8 GiB")
    spec = tiny("vit-b32")
    counted = CountedModel(model="vit", batch=1, image_size=(32, 32), text_tokens=0, counts=count_by_module(spec))
    (table,) = count_tables([failed, counted], 0)
    assert [row[0] for row in table.rows] == ["vit"]
    assert table.notes == ("broken: not counted: out of memory: 8 GiB",)
    assert json.loads(counts_json([failed]))[0]["error"] == "out of memory: 8 GiB"


@pytest.mark.serial
def test_a_huge_model_is_counted_in_two_seconds() -> None:
    start = time.perf_counter()
    counts = count_by_module(catalog()["vit-h14"])
    assert time.perf_counter() - start < 2
    assert counts.total.params == 630_764_800


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("vit-b32", "--counter", "fvcor"), "--counter: no counter 'fvcor'; did you mean fvcore?"),
        (("vit-b32", "--counter", ","), "--counter: no counter ''"),
        (("vit-b33",), "no model 'vit-b33'; did you mean vit-b32?"),
        (("vit-b32", "--depth", -1), "'--depth'"),
        (("vit-b32", "--batch", 10**9), "'--batch'"),
        (("vit-b32", "--image-size", "30x30"), "vit-b32: image size 30x30 is no multiple of the 32-pixel patch"),
        (("vilt", "--text-tokens", 1000), "vilt-b32: 1000 text tokens, but the model has 40 positions"),
    ],
)
def test_bad_input_is_one_line(options: tuple, message: str) -> None:
    refused = vlbench("count", *options)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert refused.stdout == ""

"""Which engine runs a detector: in a model file, on the command line, in the results, and where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.command_line import vlbench
from tests.helpers import write_tiny
from tests.paths import ROOT
from vlbench import architectures
from vlbench.architectures.build import build
from vlbench.cli.ab import parse_options
from vlbench.errors import InputError, SpecError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner.cells import blank_result
from vlbench.runner.plan import RunSettings, expand
from vlbench.specs import base
from vlbench.specs.catalog import catalog, read_spec

MACHINE = describe_machine(threads=1, gpu=None)
ABSENT = importlib.util.find_spec("detectron2") is None
HOW = "https://detectron2.readthedocs.io/tutorials/install.html"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the check of cells can tell."""
    monkeypatch.setattr(base, "find_spec", lambda name: object())


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    for name in {"detectron2", *(name for name in sys.modules if name.startswith("detectron2."))}:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("detectron2", "detectron2_heads"):
        monkeypatch.delitem(sys.modules, f"vlbench.architectures.{name}", raising=False)
        monkeypatch.delattr(architectures, name, raising=False)


def cells(*names: str, **settings: object) -> list:
    specs = [catalog()[name].tiny() for name in names]
    return expand(specs, read_example(None, None), RunSettings(threads=1, **settings), MACHINE)


def test_a_hash_from_before_there_were_engines_still_holds() -> None:
    published = ROOT / "results" / "xeon-2-cores" / "cells.jsonl"
    hashes = {line["model"]: line["spec_hash"] for line in map(json.loads, published.read_text().splitlines())}
    assert catalog()["uniter-base"].hash() == hashes["uniter-base"]


def test_another_engine_is_another_model_to_the_hash_and_the_same_name() -> None:
    spec = catalog()["uniter-base"]
    other = spec.with_engine("detectron2")
    assert other.hash() != spec.hash()
    assert other.name == spec.name
    assert other.with_engine("torchvision").hash() == spec.hash()
    assert catalog()["vilt-b32"].with_engine("detectron2") is catalog()["vilt-b32"]


def test_a_model_file_may_name_its_engine_and_no_other(tmp_path: Path) -> None:
    visual = catalog()["uniter-base"].tiny().visual.model_dump(mode="json", exclude_none=True)
    named = write_tiny(tmp_path, "uniter-base", visual=visual | {"engine": "detectron2"})
    assert read_spec(named).engine == "detectron2"
    wrong = write_tiny(tmp_path, "uniter-base", visual=visual | {"engine": "mmdetection"})
    with pytest.raises(SpecError, match=r"visual\.engine: .*'torchvision' or 'detectron2', not 'mmdetection'"):
        read_spec(wrong)


@pytest.mark.usefixtures("installed")
def test_the_option_reaches_every_region_model_and_no_other() -> None:
    found = cells("vilt-b32", "uniter-base", "pixelbert-r50", "visualbert", detector="detectron2")
    assert [cell.spec.engine for cell in found] == ["torchvision", "detectron2", "torchvision", "detectron2"]
    backends = [blank_result(cell, MACHINE, status="failed", measured_at="now").backend for cell in found]
    assert backends == ["eager", "eager+detectron2", "eager", "eager+detectron2"]
    assert len({cell.hash() for cell in [*found, *cells("uniter-base")]}) == 5


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (("vilt-b32",), {}, "--detector detectron2: none of these models has a detector; --models uniter has one"),
        (("uniter-base",), {"precision": "bf16"}, "--precision bf16: uniter-base-tiny runs through Detectron2"),
    ],
)
def test_what_an_engine_cannot_do_is_one_line(names: tuple[str, ...], settings: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        cells(*names, detector="detectron2", **settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_ab_takes_an_engine_for_one_side() -> None:
    assert parse_options("--head-option", ["detector=detectron2"]) == {"detector": "detectron2"}
    with pytest.raises(InputError, match="--head-option detector=d2: 'd2' is not a valid detector"):
        parse_options("--head-option", ["detector=d2"])


@pytest.mark.usefixtures("absent")
def test_where_it_is_not_installed_one_line_says_how_to() -> None:
    spec = catalog()["uniter-base"].tiny()
    with pytest.raises(InputError) as of_cells:
        cells("uniter-base", detector="detectron2")
    with pytest.raises(InputError) as of_build:
        build(spec.with_engine("detectron2"))
    for error in (of_cells, of_build):
        assert HOW in str(error.value)
        assert "\n" not in str(error.value)
    assert build(spec).visual.rpn is not None


@pytest.mark.skipif(not ABSENT, reason="Detectron2 is installed")
def test_a_run_ends_with_exit_code_2_where_it_is_not_installed(tmp_path: Path) -> None:
    model = write_tiny(tmp_path, "uniter-base")
    done = vlbench("run", "--models", model, "--detector", "detectron2", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert HOW in done.stderr


@pytest.mark.skipif(ABSENT, reason="Detectron2 is not installed")
def test_a_run_through_detectron2_times_the_same_stages(tmp_path: Path) -> None:
    model, out = write_tiny(tmp_path, "visualbert"), tmp_path / "out"
    wanted = ("run", "--models", model, "--threads", 1, "--device", "cpu", "--budget", 0.5, "--out", out)
    for extra in ((), ("--detector", "detectron2")):
        done = vlbench(*wanted, *extra)
        assert done.returncode == 0, done.stderr
    ours, theirs = map(json.loads, (out / "cells.jsonl").read_text().splitlines())
    assert (ours["backend"], theirs["backend"]) == ("eager", "eager+detectron2")
    assert list(theirs["latency_ms_by_stage"]) == list(ours["latency_ms_by_stage"])
    assert "visual.fpn" in theirs["latency_ms_by_stage"]
    assert theirs["macs"] == ours["macs"]
    assert theirs["detector_load"]["proposals"] == ours["detector_load"]["proposals"]

"""Suite files: every shipped one reads, and what is wrong with one is said in a line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from tests.helpers import write_yaml
from tests.paths import ROOT
from vlbench.architectures.nms import METHODS
from vlbench.architectures.registry import implementation
from vlbench.errors import InputError, SpecError
from vlbench.measuring.records import Counts
from vlbench.specs.base import specs_by_kind
from vlbench.specs.catalog import catalog
from vlbench.specs.visual import VisualPart
from vlbench.suites.quantities import DESCRIBED, DESCRIPTIONS, ORIGINS, STAGES, SUPPRESSIONS
from vlbench.suites.reader import ablation_paths, parse_categories, read_suite, resolve_suites, suite_paths

SHIPPED = """
batch-scaling grid-or-region nms-style pixel-sampling resolution-scaling token-scaling vilt-figure1 vilt-table6
vilt-table7 vit-sizes
""".split()

SMALL = {
    "name": "small",
    "title": "Two sizes",
    "source": {"paper": "none"},
    "columns": [
        {"name": "params", "title": "params", "quantity": "params_total / 1e6", "cells": "params", "tolerance": 0.1},
        {"name": "time", "title": "time", "quantity": "latency_ms", "cells": "latency", "unit": "ms"},
    ],
    "rows": [
        {"label": "base", "model": "vit-b16", "reported": {"params": 86}},
        {"label": "short", "model": "vit-b16", "set": {"interaction.layers": 2}},
    ],
    "claims": [{"text": "fewer layers, fewer parameters", "expr": 'params["short"] < params["base"]'}],
    "figure": {"kind": "bars", "columns": ["params"]},
}


def write_small(folder: Path, **changes: object) -> Path:
    return write_yaml(folder / "small.yaml", SMALL | changes)


def changed(part: str, index: int, **changes: object) -> dict[str, list]:
    """One entry of a list of the suite, changed."""
    entries = [dict(entry) for entry in SMALL[part]]  # type: ignore[attr-defined]
    entries[index] |= changes
    return {part: entries}


def test_every_suite_is_shipped() -> None:
    assert sorted(suite_paths()) == SHIPPED


def test_every_file_of_benchmarks_is_packaged() -> None:
    """Without a line for each; what lies in folders below, such as the harness, is not."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {"/vlbench", "/models/*.yaml", "/benchmarks/*.yaml"} == set(build["include"])
    assert build["sources"] == {"models": "vlbench/_models", "benchmarks": "vlbench/_benchmarks"}
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.yaml")} == {*suite_paths(), *ablation_paths()}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_suite_reads(name: str) -> None:
    (loaded,) = resolve_suites([name])
    assert loaded.suite.name == name
    assert set(loaded.specs) == {row.label for row in loaded.suite.rows if row.model}
    assert all(row.suppression or row.label in loaded.specs for row in loaded.suite.rows)


def test_globs_and_none_and_paths_mean_suites(tmp_path: Path) -> None:
    assert [one.suite.name for one in resolve_suites(["vilt-*", "vilt-table6"])] == [
        "vilt-figure1",
        "vilt-table6",
        "vilt-table7",
    ]
    assert [one.suite.name for one in resolve_suites([])] == SHIPPED
    assert [one.suite.name for one in resolve_suites([str(write_small(tmp_path))])] == ["small"]


def test_a_suite_without_a_figure_is_drawn_as_bars(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["figure"]
    path.write_text(yaml.safe_dump(content))
    figure = read_suite(path).suite.figure
    assert figure.kind == "bars"
    assert figure.columns == ("params", "time")


def test_set_changes_the_spec_and_nothing_else(tmp_path: Path) -> None:
    specs = read_suite(write_small(tmp_path)).specs
    assert specs["short"].interaction.layers == 2
    assert specs["short"] != specs["base"] == catalog()["vit-b16"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (changed("rows", 0, model="vit-b61"), "row 'base': no model 'vit-b61'; did you mean vit-b16?"),
        (changed("rows", 1, set={"interaction.layer": 2}), "unknown key 'interaction.layer'; did you mean layers?"),
        (
            changed("rows", 1, set={"interactoin.layers": 2}),
            "no part 'interactoin' in 'interactoin.layers'; did you mean",
        ),
        (changed("rows", 1, set={"interaction.layers": "two"}), "row 'short': set: interaction.layers: "),
        (changed("rows", 0, suppression={"boxes": 3, "classes": 3}), "needs either model or suppression"),
        (changed("rows", 0, backend="onnxrt"), "no backend 'onnxrt'; did you mean onnxruntime?"),
        (changed("rows", 0, precision="int4"), "rows.0.precision: "),
        (changed("rows", 0, scope="stage"), "rows.0.scope: "),
        (
            changed("rows", 0, model=None, suppression={"boxes": 3, "classes": 3}, backend="openvino"),
            "backend and scope apply to models only",
        ),
        (changed("rows", 1, label="base"), "more than one row is called base"),
        (changed("rows", 0, reported={"parms": 86}), "no column 'parms'; did you mean params?"),
        (changed("columns", 0, quantity="params_totl"), "no quantity 'params_totl'; did you mean params_total?"),
        (changed("columns", 0, quantity="params_total +"), "does not parse: invalid syntax"),
        (changed("columns", 0, quantity='params_total["bass"]'), "no row 'bass'; did you mean base?"),
        (changed("columns", 0, cells="latency"), "so its cells must be params, flops or parts, not latency"),
        (changed("columns", 1, tolerance=0.1), "a latency has no tolerance"),
        (changed("columns", 1, title="params"), "more than one column's title is called params"),
        (changed("columns", 0, tolerence=0.1), "unknown key 'columns.0.tolerence'; did you mean tolerance?"),
        (changed("claims", 0, expr='params["short"] <'), "does not parse: invalid syntax"),
        (changed("claims", 0, expr='parms["short"] < 3'), "no column 'parms'; did you mean params?"),
        (changed("claims", 0, expr='params["shrt"] < 3'), "no row 'shrt'; did you mean short?"),
        (changed("claims", 0, expr="params < 3"), 'params needs a row, as in params["base"]'),
        (changed("claims", 0, expr='params["short"]'), "is not a comparison"),
        (changed("claims", 0, expr='__import__("os").system("true") < 1'), "does not parse at"),
        ({"figure": {"kind": "lines", "columns": ["params"]}}, "a figure of kind lines needs x"),
        ({"figure": {"kind": "bars", "columns": ["prams"]}}, "figure: no column 'prams'; did you mean params?"),
        ({"titel": "x"}, "unknown key 'titel'; did you mean title?"),
        ({"name": "other"}, "the file is called 'small'"),
        ({"rows": []}, "rows: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_line(tmp_path: Path, changes: dict, said: str) -> None:
    path = write_small(tmp_path, **changes)
    with pytest.raises(SpecError) as raised:
        read_suite(path)
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert said in line


def test_a_reported_count_needs_a_tolerance(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="row 'base': params is reported, but has no tolerance"):
        read_suite(write_small(tmp_path, **changed("columns", 0, tolerance=None)))


def test_names_that_mean_nothing() -> None:
    with pytest.raises(InputError, match=r"no suite 'vilt-tabel6'; did you mean vilt-table6\?"):
        resolve_suites(["vilt-tabel6"])
    with pytest.raises(InputError, match="no suite matches"):
        resolve_suites(["zzz*"])
    with pytest.raises(InputError, match=r"nowhere.yaml: no such file"):
        resolve_suites(["nowhere.yaml"])


def test_categories() -> None:
    assert parse_categories("params, flops") == {"params", "flops"}
    with pytest.raises(InputError, match=r"--cells: no category 'flop'; did you mean flops\?"):
        parse_categories("flop")
    with pytest.raises(InputError, match="--cells: names no category"):
        parse_categories(",")


def test_quantities_are_those_of_the_code() -> None:
    steps = {step for kind in specs_by_kind(VisualPart) for step in implementation(kind).steps}
    assert {stage.removeprefix("visual.") for stage in STAGES if "." in stage} == steps
    assert {f"components.{name}" for name in DESCRIPTIONS} == {name for name in DESCRIBED if "." in name}
    assert set(SUPPRESSIONS) == set(METHODS)
    counted = {name.partition(".")[0] for name, how in ORIGINS.items() if how == "count"}
    assert counted == set(Counts.model_fields) - {"text_tokens", "unknown_operators"}  # no figures of papers

"""The table of docs/runtimes.md: it has every model, and what it says of some of them is what a conversion says now."""

from __future__ import annotations

import pytest

from benchmarks.harness.list_runtimes import CONVERTERS, NOT_TRIED, outcome, read_table, table_of, with_table
from tests.helpers import tiny
from tests.paths import ROOT
from vlbench.runner.equality import TOLERANCES
from vlbench.specs.catalog import catalog

EVERY_KIND = (
    "vilt-vit-tiny",
    "pixelbert-r50",
    "vilbert",
    "scan",
    "vsepp",
    "clip-rn50",
    "hf-clip-vit-b32",
    "hf-blip-itm",
)
PAGE = (ROOT / "docs" / "runtimes.md").read_text(encoding="utf-8")


def test_the_table_has_every_model_and_no_other() -> None:
    rows = read_table(PAGE)
    assert list(rows) == sorted(catalog())
    assert {backend for row in rows.values() for backend in row} == set(CONVERTERS)
    assert [name for name, row in rows.items() if NOT_TRIED in row.values()] == []


def test_new_outcomes_take_the_place_of_those_before_and_the_others_stay() -> None:
    first, second = sorted(catalog())[:2]
    page = f"Before.\n\n{table_of({first: {'compile': 'equal'}, second: {'compile': 'fails: no'}})}\nAfter.\n"
    changed = with_table(page, {second: {"compile": "equal", "openvino": "equal"}})
    assert read_table(changed)[first] == {"onnxruntime": NOT_TRIED, "openvino": NOT_TRIED, "compile": "equal"}
    assert read_table(changed)[second] == {"onnxruntime": NOT_TRIED, "openvino": "equal", "compile": "equal"}
    assert changed.startswith("Before.\n\n| model |")
    assert changed.endswith("|\n\nAfter.\n")


def test_the_page_has_the_tolerances() -> None:
    for precision, tolerance in TOLERANCES.items():
        assert f"| `{precision}` | {tolerance:.4f}".rstrip("0") + " |" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", EVERY_KIND)
def test_the_table_is_current(model: str, backend: str) -> None:
    """Whole models and parts of each kind are equal in fp32."""
    pytest.importorskip(backend)
    assert outcome(tiny(model), backend) == read_table(PAGE)[model][backend]

"""The small settings of --quick fit every row of every suite."""

from __future__ import annotations

import pytest

from vlbench.architectures.count import count
from vlbench.suites.collect import SHRINK, small_spec
from vlbench.suites.reader import resolve_suites

ROWS = [(one.suite.name, label, spec) for one in resolve_suites([]) for label, spec in one.specs.items()]


@pytest.mark.parametrize(("suite", "label", "spec"), ROWS, ids=[f"{suite}: {label}" for suite, label, _ in ROWS])
def test_a_row_has_a_small_model_that_runs(suite: str, label: str, spec) -> None:
    small = small_spec(spec)
    assert small.input.text_tokens == spec.input.text_tokens
    for side, full in zip(small.input.image_size, spec.input.image_size, strict=True):
        assert full / SHRINK <= side < full / SHRINK + 64


def test_small_models_do_less_than_a_fiftieth_of_the_work() -> None:
    specs = {spec.name: spec for suite, _, spec in ROWS if suite == "vilt-table6"}
    for spec in (specs["vilt-b32"], specs["pixelbert-x152"], specs["uniter-base-table6"]):
        assert count(small_spec(spec)).macs < count(spec).macs / 50

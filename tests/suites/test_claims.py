"""Verdicts on made-up measurements whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.harness.coverage import of_ratios
from vlbench.measuring.machine import Machine
from vlbench.measuring.noise import Noise
from vlbench.measuring.records import Counts
from vlbench.measuring.statistics import median_interval, summarise
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.nms_records import SuppressionCell, suppression_result
from vlbench.runner.records import Result
from vlbench.specs.catalog import catalog
from vlbench.suites.evaluate import evaluate
from vlbench.suites.evidence import DRAWS, RowEvidence, interval, median_draws
from vlbench.suites.expressions import NoValueError
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, SuiteOutcome
from vlbench.suites.schema import CATEGORIES, Row, Suite

SPEC = catalog()["vit-b16"]
MACHINE = Machine(cpu="any", cores=1, logical_cores=1, threads=1, ram_bytes=1, gpu=None, os="any", python="3")
COUNTS = Counts(
    image_tokens=10,
    text_tokens=0,
    params_total=100,
    params_trainable=100,
    params_by_stage={},
    macs=1000,
    macs_by_stage={"visual": 400, "visual.patch": 400, "interaction": 600},
    flops=2000,
    operators=30,
)
COLUMNS = [
    {"name": "params", "title": "params", "quantity": "params_total", "cells": "params", "tolerance": 0.01},
    {"name": "table6", "title": "table6", "quantity": "params_table6", "cells": "params"},
    {"name": "kind", "title": "kind", "quantity": "components.cnn", "cells": "parts"},
    {"name": "ms", "title": "ms", "quantity": "latency_ms", "cells": "latency"},
    {"name": "patch", "title": "patch", "quantity": "latency_ms_by_stage.visual.patch", "cells": "latency"},
    {"name": "rpn", "title": "rpn", "quantity": "latency_ms_by_stage.visual.rpn", "cells": "latency"},
    {
        "name": "share",
        "title": "share",
        "quantity": "latency_ms_by_stage.visual.patch / latency_ms_by_stage.total",
        "cells": "latency",
    },
]


def result(samples: Sequence[float], patch: Sequence[float]) -> Result:
    cell = Cell(spec=SPEC, image="x.jpg", image_sha256="0", text="x")
    stages = {
        "total": summarise([[2 * value] for value in patch]),
        "visual.patch": summarise([[value] for value in patch]),
    }
    return blank_result(
        cell,
        MACHINE,
        status="ok",
        latency_ms=summarise([[value] for value in samples]),
        latency_ms_by_stage=stages,
        measured_at="now",
    )


def outcome_of(*claims: str, row: dict | None = None, quick: bool = False, **found: object) -> SuiteOutcome:
    """A suite of the rows `slow` (about 100 ms), `fast` (about 10), `few` (three restarts) and `none` (failed)."""
    labels = ("slow", "fast", "few", "none")
    suite = Suite.model_validate(
        {
            "name": "made-up",
            "title": "made up",
            "source": {"paper": "none"},
            "columns": COLUMNS,
            "rows": [{"label": label, "model": "vit-b16"} | (row or {}) for label in labels],
            "claims": [{"text": "a claim", "expr": claim} for claim in claims],
            "figure": {"kind": "bars", "columns": ["ms"]},
        }
    )
    generator = np.random.default_rng(0)
    slow, fast = (list(generator.normal(centre, centre / 20, 50)) for centre in (100, 10))
    results = {"slow": result(slow, slow), "fast": result(fast, fast), "few": result(fast[:3], fast[:3])}
    results["none"] = "failed: out of memory"  # type: ignore[assignment]
    evidence = {
        one.label: RowEvidence(row=one, spec=SPEC, **({"counts": COUNTS, "result": results[one.label]} | found))  # type: ignore[arg-type]
        for one in suite.rows
    }
    return evaluate(suite, evidence, CATEGORIES, quick=quick)


def claim_of(expr: str, **options: object) -> ClaimOutcome:
    return outcome_of(expr, **options).claims[0]  # type: ignore[arg-type]


def cell_of(column: str, label: str = "slow", **options: object) -> ReproducedCell:
    found = outcome_of(**options).cell(label, column)  # type: ignore[arg-type]
    assert found
    return found


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        ('params["slow"] == 100', "holds"),
        ('params["slow"] != 100', "does not hold"),
        ('params["slow"] <= 100', "holds"),
        ('params["slow"] >= 100.5', "does not hold"),
        ('99 < params["slow"] < 101', "holds"),
        ('99 < params["slow"] < 100', "does not hold"),
        ('ms["slow"] / ms["fast"] > 8', "holds"),
        ('ms["slow"] / ms["fast"] > 12', "does not hold"),
        ('ms["slow"] / ms["fast"] < 8', "does not hold"),
        ('ms["slow"] > ms["fast"]', "holds"),
        ('8 < ms["slow"] / ms["fast"] < 12', "holds"),
        ('8 < ms["slow"] / ms["fast"] < 9', "does not hold"),
        ('min(ms["slow"], ms["fast"]) < 20', "holds"),
        ('ms["slow"] == ms["fast"]', "does not hold"),
        ('ms["slow"] != ms["fast"]', "holds"),
        ('ms["slow"] * params["slow"] > 5000', "holds"),
        ('ms["few"] < 1000', "cannot tell"),
        ('ms["none"] < 1000', "cannot tell"),
        ('params["slow"] / rpn["slow"] > 1', "cannot tell"),
    ],
)
def test_verdict(expr: str, verdict: str) -> None:
    assert claim_of(expr).verdict == verdict


def test_an_interval_on_both_sides_tells_nothing() -> None:
    shown = claim_of('ms["slow"] > 0')
    assert shown.interval
    middle = sum(shown.interval) / 2
    undecided = claim_of(f'ms["slow"] > {middle}')
    assert (undecided.verdict, undecided.reason) == ("cannot tell", "the interval lies on both sides")
    assert claim_of(f'ms["slow"] == {middle}').verdict == "cannot tell"


def test_the_reason_says_what_is_missing() -> None:
    assert 'fewer than 6 restarts of ms["few"]' in (claim_of('ms["few"] < 1000').reason or "")
    assert claim_of('ms["none"] < 1000').reason == "failed: out of memory"
    assert "params_table6" in (claim_of('table6["slow"] < 1').reason or "")


def test_the_value_and_the_interval_are_those_of_the_first_side_with_a_figure() -> None:
    shown = claim_of('5 < ms["slow"] / ms["fast"] < 20')
    assert shown.value == pytest.approx(10, rel=0.05)
    assert shown.interval
    low, high = shown.interval
    assert low < (shown.value or 0) < high
    assert claim_of('params["slow"] > 1').interval is None


def test_quick_decides_counted_claims_alone() -> None:
    assert claim_of('params["slow"] == 100', quick=True).verdict == "holds"
    timed = claim_of('ms["slow"] > ms["fast"]', quick=True)
    assert timed.verdict == "cannot tell"
    assert "small settings" in (timed.reason or "")


def test_stages_of_one_pass_stay_together() -> None:
    """Each pass spends half its time in the patch projection, however long it takes, so the share has no spread."""
    share = cell_of("share")
    assert share.measured == pytest.approx(0.5)
    assert share.interval == pytest.approx((0.5, 0.5))


def test_draws_of_a_median_match_their_known_spread() -> None:
    """The median of n normal samples has a standard error of sqrt(pi / 2 / n)."""
    samples = np.random.default_rng(1).normal(0, 1, 2000)
    drawn = median_draws(list(samples), "key")
    assert drawn.shape == (3 + DRAWS,)
    assert drawn[0] == np.median(samples)
    assert drawn[3:].std() == pytest.approx(math.sqrt(math.pi / 2 / 2000), rel=0.25)
    np.testing.assert_array_equal(drawn, median_draws(list(samples), "key"))
    assert interval(median_draws([1.0] * 5, "key"), figures=1) is None


@pytest.mark.parametrize("count", [6, 7, 8, 15, 40])
def test_one_figure_has_the_interval_of_order_statistics_that_run_states(count: int) -> None:
    """Whatever a formula makes of it, as long as it rises or falls with it."""
    restarts = np.random.default_rng(count).normal(100, 10, count).tolist()
    evidence = {"slow": result(restarts, restarts)}
    low, high = median_interval(sorted(restarts)) or (0, 0)
    assert cell_of("ms", result=evidence["slow"]).interval == (low, high)
    assert claim_of('1000 / ms["slow"] > 0', result=evidence["slow"]).interval == pytest.approx(
        (1000 / high, 1000 / low)
    )
    for bound, verdict in ((low, "cannot tell"), (low - 1e-6, "holds"), (high, "does not hold")):
        assert claim_of(f'ms["slow"] > {bound!r}', result=evidence["slow"]).verdict == verdict
    assert claim_of(f'ms["slow"] >= {low!r}', result=evidence["slow"]).verdict == "holds"


@pytest.mark.parametrize("count", range(1, 6))
def test_too_few_restarts_have_no_interval_anywhere(count: int) -> None:
    few = result([100.0] * count, [40.0] * count)
    assert cell_of("ms", result=few).interval is None
    assert cell_of("share", result=few).interval is None
    ratio = claim_of('ms["slow"] / ms["fast"] > 0.5', result=few)
    assert (ratio.value, ratio.interval, ratio.verdict) == (1.0, None, "cannot tell")


@pytest.mark.slow
@pytest.mark.parametrize("restarts", [7, 9, 15])
def test_the_interval_of_a_ratio_of_two_rows_covers_the_truth(restarts: int) -> None:
    assert of_ratios(restarts, 300, np.random.default_rng(restarts)).lowest >= 0.93 - 2 * 0.0147  # two standard errors


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        ("0.1 + 0.2 == 0.3", "holds"),
        ("0.1 + 0.2 <= 0.3", "holds"),
        ("0.1 + 0.2 > 0.3", "does not hold"),
        ("0.1 + 0.2 != 0.3", "does not hold"),
        ("0.1 + 0.2 > 0.29999999", "holds"),
    ],
)
def test_rounding_decides_no_claim(expr: str, verdict: str) -> None:
    assert claim_of(f'{expr} * params["slow"] / 100').verdict == verdict


@pytest.mark.parametrize(
    ("row", "column", "verdict", "error"),
    [
        ({"reported": {"params": 100.9}}, "params", "within", -0.9 / 100.9),
        ({"reported": {"params": 102}}, "params", "outside", -2 / 102),
        ({"reported": {"params": 102}, "tolerance": {"params": 0.02}}, "params", "within", -2 / 102),
        ({}, "params", "no reference", None),
        ({"reported": {"kind": "-"}}, "kind", "within", None),
        ({"reported": {"kind": "R50"}}, "kind", "outside", None),
        ({"reported": {"ms": 1}}, "ms", "measured", None),
        ({}, "rpn", "not applicable", None),
        ({"reported": {"rpn": 3}}, "rpn", "not measured", None),
        ({}, "table6", "not measured", None),
    ],
)
def test_verdict_of_a_cell(row: dict, column: str, verdict: str, error: float | None) -> None:
    cell = cell_of(column, row=row)
    assert cell.verdict == verdict
    if error is not None:
        assert cell.error == pytest.approx(error)
    assert cell.reported == row.get("reported", {}).get(column)


def test_whether_a_suite_passed() -> None:
    known = {"result": result([10.0] * 9, [5.0] * 9), "counts": COUNTS.model_copy(update={"params_table6": 100})}
    assert outcome_of(**known).passed
    assert not outcome_of(row={"reported": {"params": 102}}, **known).passed
    assert not outcome_of(**(known | {"result": "failed: out of memory"})).passed


BUSY = Noise(verdict="contended", reasons=("other processes kept 0.9 of 2 cores busy",))
WHY = "the latency of {} is contended: other processes kept 0.9 of 2 cores busy"
HUNDRED = [100 + value / 10 for value in range(50)]
CONTENDED = result(HUNDRED, HUNDRED).model_copy(update={"noise": BUSY})


def test_a_figure_of_a_contended_latency_says_so() -> None:
    for column in ("ms", "patch", "share"):
        cell = cell_of(column, result=CONTENDED)
        assert (cell.verdict, cell.reason, cell.mark) == ("measured", WHY.format("slow"), " (contended)")
        assert cell.measured is not None
    for calm in (cell_of("params", result=CONTENDED), cell_of("ms")):
        assert (calm.reason, calm.contended, calm.mark) == (None, None, "")
    missing = cell_of("ms", "none")
    assert (missing.reason, missing.contended) == ("failed: out of memory", None)


@pytest.mark.parametrize(
    ("expr", "verdict", "reason"),
    [
        ('ms["slow"] > 50', "holds", WHY.format("slow")),
        ('ms["slow"] < 50', "does not hold", WHY.format("slow")),
        ('ms["slow"] > ms["fast"] / 2', "holds", f"{WHY.format('fast')}; {WHY.format('slow')}"),
        ('ms["slow"] > 102.5', "cannot tell", f"the interval lies on both sides; {WHY.format('slow')}"),
        ('params["slow"] == 100', "holds", None),
    ],
)
def test_a_claim_that_rests_on_a_contended_latency_says_so(expr: str, verdict: str, reason: str | None) -> None:
    claim = claim_of(expr, result=CONTENDED)
    assert (claim.verdict, claim.reason) == (verdict, reason)


@pytest.mark.parametrize("noise", [None, Noise(verdict="noisy", reasons=("the restarts differ",)), BUSY])
def test_suppressions_are_contended_as_models_are(noise: Noise | None) -> None:
    suppression = suppression_result(
        SuppressionCell(boxes=10, classes=2, iou=0.5), MACHINE, "now", status="ok", noise=noise
    )
    row = Row.model_validate({"label": "a", "suppression": {"boxes": 10, "classes": 2, "iou": 0.5}})
    evidence = RowEvidence(row=row, spec=None, suppression=suppression)
    assert (evidence.contended("suppression_ms.class_agnostic") is not None) == (noise is BUSY)
    assert evidence.contended("latency_ms") is None


def test_a_model_that_is_converted_as_a_whole_has_no_stages_that_cost_nothing() -> None:
    whole = result([10.0] * 8, [10.0] * 8).model_copy(update={"scope": "model", "latency_ms_by_stage": {}})
    evidence = RowEvidence(row=Row(label="whole", model="vit-b16"), spec=SPEC, result=whole)
    assert np.ndim(evidence.value("latency_ms")) == 1
    with pytest.raises(NoValueError, match=r"was converted as a whole, which has no stages$"):
        evidence.value("latency_ms_by_stage.visual")

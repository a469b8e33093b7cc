"""What something else on the machine disturbed is never called the fastest, and is marked where it is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.text import Text

from tests.report.evaluated import evaluation, result
from vlbench.measuring.noise import Noise
from vlbench.report.choice_tables import sentence
from vlbench.report.choosing import Requirements, choose
from vlbench.report.export import display_table, plain_frame
from vlbench.report.folders import Folder, Reproduced
from vlbench.report.frames import Results
from vlbench.report.frontier import comparable, lines
from vlbench.report.frontier_figure import draw
from vlbench.report.page.accuracy_section import section
from vlbench.report.page.page import render
from vlbench.report.page.reported import suites
from vlbench.report.page.summary import headlines
from vlbench.report.paper import drawing
from vlbench.report.reported_figure import picture
from vlbench.report.requirements import ModelBudget
from vlbench.report.views import labels, scaling
from vlbench.runner.records import Evaluation, Result
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell
from vlbench.tasks.items import Metric

BUSY = Noise(verdict="contended", reasons=("other processes kept 0.9 of 2 cores busy",))
WHY = "contended: other processes kept 0.9 of 2 cores busy"
CALM, SLOW, FAST = result("calm", 20.0), result("slow", 40.0), result("fast", 10.0, noise=BUSY)


def results_of(*results: Result, evaluations: tuple[Evaluation, ...] = ()) -> Results:
    return Results([Folder(label="a", path=Path(), results=results, evaluations=evaluations, reproduced=None)])


def test_a_contended_measurement_is_no_headline() -> None:
    words = [f"{headline.figure} {headline.words}" for headline in headlines(results_of(CALM, SLOW, FAST))]
    assert "20.0 ms a pass of calm, the fastest here, without 1 contended measurement" in words
    assert "2 times the time of the fastest: slow, the slowest here, without 1 contended measurement" in words
    assert not any("fastest" in headline.words for headline in headlines(results_of(CALM, FAST)))


def test_what_is_drawn_of_it_is_marked() -> None:
    assert labels(results_of(CALM, FAST)) == ["calm", "fast (contended)"]
    batches = [CALM.model_copy(update={"batch": batch, "noise": BUSY if batch == 2 else None}) for batch in (1, 2, 4)]
    assert set(scaling(results_of(*batches))["line"]) == {"calm, 384x640 (contended)"}


def test_it_is_left_out_of_the_frontier_over_latency_with_its_reason() -> None:
    evaluations = (evaluation("calm", 0.5), evaluation("slow", 0.6), evaluation("fast", 0.9))
    told = lines([CALM, SLOW, FAST], evaluations)
    assert told[0] == f"Left out of the frontier over latency: fast: {WHY}"
    latency, _, macs = told[1].partition("; ")
    assert "fast" not in latency
    assert "fast" in macs  # MACs are counted, whatever else runs
    assert comparable([FAST, result("fast", 12.0)], evaluations)[0].latency_ms.median == 12.0  # type: ignore[union-attr]
    assert comparable([result("fast", 12.0), FAST], evaluations)[0].latency_ms.median == 12.0  # type: ignore[union-attr]


def test_the_frontier_of_contended_measurements_alone_is_drawn_over_macs(tmp_path: Path) -> None:
    written = draw([FAST], [evaluation("fast", 0.9)], tmp_path)
    assert {path.suffix for path in written} == {".png", ".svg"}
    assert "GMACs" in written[1].read_text()
    assert "latency, ms" not in written[1].read_text()
    assert draw([FAST.model_copy(update={"macs": None})], [evaluation("fast", 0.9)], tmp_path) == []


@pytest.mark.parametrize(("results", "best"), [((FAST, CALM), "calm"), ((FAST,), "fast")])
def test_a_choice_by_memory_does_not_call_it_the_quickest(results: tuple[Result, ...], best: str) -> None:
    measured = [each.model_copy(update={"peak_memory_bytes": 10**9}) for each in results]
    choice = choose(results_of(*measured), ModelBudget(memory_gb=2), Requirements(), None)
    told = sentence(choice)
    assert told.startswith(f"Best within 2 GB: {best} (")
    assert ("quickest" in told) == (best == "calm")
    assert (WHY in told) == (best == "fast")


def test_the_page_says_which_models_are_left_out_of_the_frontier() -> None:
    metrics = (Metric(name="accuracy", value=0.5, ci95=None, n=10),)
    evaluations = tuple(evaluation(name, 0.5, metrics=metrics) for name in ("calm", "slow", "fast"))
    for measured, left_out in (((CALM, SLOW, FAST), True), ((CALM, SLOW), False), ((FAST,), True)):
        shown = section(results_of(*measured, evaluations=evaluations))
        assert shown
        assert shown.text.endswith(f" Left out of the frontier over latency: fast: {WHY}.") == left_out
        assert any("latency" in chart.alt_text for chart in shown.charts) == (CALM in measured)


def reproduced() -> Results:
    cell = {"suite": "s", "row": "fast", "model": "fast", "quantity": "time", "category": "latency", "unit": "ms"}
    cell |= {"measured": 10.0, "reported": 12.0, "error": -1 / 6, "tolerance": None, "interval": (9.0, 11.0)}
    cell |= {"verdict": "measured", "reason": f"the latency of fast is {WHY}", "erratum": None}
    claim = {"suite": "s", "text": "fast is fast", "where": "", "expr": 'time["fast"] < 11', "verdict": "holds"}
    claim |= {"value": 10.0, "interval": (9.0, 11.0), "reason": f"the latency of fast is {WHY}"}
    outcome = Reproduced(
        titles={"s": "A suite"},
        cells=(ReproducedCell(**cell),),  # type: ignore[arg-type]
        claims=(ClaimOutcome(**claim),),  # type: ignore[arg-type]
        machine=None,
        settings={},
        quick=False,
    )
    return Results([Folder(label="a", path=Path(), results=(FAST,), evaluations=(), reproduced=outcome)])


def test_measured_beside_reported_it_is_marked_on_the_page() -> None:
    (suite,) = suites(reproduced())
    ((_, (figure,)),) = suite.rows
    assert figure
    assert figure.measured == "10.0 (contended)"
    assert suite.contended == (f"the latency of fast is {WHY}",)
    assert suite.claims[0].value.endswith(f", the latency of fast is {WHY}")
    assert f"Not to be trusted: the latency of fast is {WHY}; measure again on an idle machine." in render(reproduced())


@pytest.mark.parametrize("table", ["reported", "claims"])
def test_measured_beside_reported_it_is_exported_with_its_reason(table: str) -> None:
    shown = display_table(reproduced(), table)
    assert dict(zip(shown.names, shown.texts[0], strict=True))["reason"] == f"the latency of fast is {WHY}"
    assert plain_frame(reproduced(), table)["reason"].tolist() == [f"the latency of fast is {WHY}"]


def test_measured_beside_reported_it_is_marked_in_the_figure() -> None:
    with drawing() as plt:
        texts = [text.get_text() for text in picture(reproduced(), plt).findobj(Text)]
    assert "fast (contended)" in texts

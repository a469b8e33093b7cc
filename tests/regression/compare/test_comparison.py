"""Whole comparisons: each cell's verdict, what it does to the overall one, and how the family is counted."""

from __future__ import annotations

import pytest

from tests.regression.compare.conftest import STAGES, made_up, slowed, speeds
from vlbench.errors import InputError
from vlbench.measuring.noise import Noise
from vlbench.measuring.statistics import summarise
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.effects import independent, paired
from vlbench.regression.compare.outcomes import CellOutcome, Comparison, Thresholds
from vlbench.runner.records import Result

OTHER = speeds(77)


def the_cell(comparison: Comparison) -> CellOutcome:
    (cell,) = comparison.cells
    return cell


def of(head: Result, base: Result | None = None, **options: object) -> Comparison:
    return compare([base or made_up()], [head], **options)  # type: ignore[arg-type]


def test_unchanged_code_is_the_same() -> None:
    comparison = of(made_up(drawn=OTHER))
    cell = the_cell(comparison)
    assert (comparison.verdict, comparison.exit_code, cell.verdict) == ("no regression", 0, "same")
    assert {stage.verdict for stage in cell.stages} == {"same"}
    assert {gate.verdict for gate in cell.gates} == {"same"}
    assert cell.moved is None


def test_a_slower_stage_is_a_regression_with_its_name() -> None:
    comparison = of(slowed("vilt-b32", "visual.backbone", 0.1, drawn=OTHER))
    cell = the_cell(comparison)
    assert (comparison.verdict, comparison.exit_code, cell.verdict) == ("regression", 1, "slower")
    assert cell.moved
    assert cell.moved.stage == "visual.backbone"
    verdicts = {stage.stage: stage.verdict for stage in cell.stages}
    assert verdicts == dict.fromkeys(STAGES, "same") | {"visual": "slower", "visual.backbone": "slower"}


def test_a_faster_cell_is_none() -> None:
    comparison = of(made_up(drawn=OTHER), slowed("vilt-b32", "interaction", 0.1))
    assert (comparison.exit_code, the_cell(comparison).verdict) == (0, "faster")


def test_figures_are_medians_and_the_effect_is_that_of_the_restarts() -> None:
    base, head = made_up(), made_up(drawn=OTHER)
    cell = the_cell(of(head, base))
    assert base.latency_ms
    assert head.latency_ms
    assert (cell.base_ms, cell.head_ms) == (base.latency_ms.median, head.latency_ms.median)
    assert cell.effect == independent(base.latency_ms.by_restart, head.latency_ms.by_restart, 0.99)
    assert cell.restarts == (15, 15)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"noise": Noise(verdict="contended", reasons=("0.9 cores were busy.",))},
            "HEAD measured on a contended machine (0.9 cores were busy); ",
        ),
        ({"noise": Noise(verdict="contended")}, "HEAD measured on a contended machine; measure again"),
        ({"latency_ms": None}, "no latency measured in HEAD"),
        ({"latency_ms": summarise([[0.0]])}, "no latency measured in HEAD"),
        ({"drawn": [1.2, 1.2]}, "15 restarts against 2: too few for an interval of 99%; measure with --restarts 12"),
        ({"drawn": speeds(1, noise=0.2)}, "is possible; "),
    ],
)
def test_what_cannot_be_decided_is_unknown_with_a_reason(changes: dict, said: str) -> None:
    comparison = of(made_up(**changes))
    assert (comparison.verdict, comparison.exit_code) == ("cannot tell", 3)
    assert the_cell(comparison).verdict == "unknown"
    assert said in (the_cell(comparison).reason or "")


def test_a_contended_cell_is_never_slower_but_its_gates_hold() -> None:
    contended = Noise(verdict="contended", reasons=("busy",))
    assert of(made_up(total_ms=300, noise=contended)).exit_code == 3
    assert of(made_up(noise=contended, macs=10**12)).exit_code == 1
    assert "BASE and HEAD measured" in (the_cell(of(made_up(noise=contended), made_up(noise=contended))).reason or "")


@pytest.mark.parametrize("verdict", ["noisy", "stable"])
def test_a_noisy_cell_is_left_to_its_interval(verdict: str) -> None:
    assert of(made_up(total_ms=120, noise=Noise(verdict=verdict))).exit_code == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "head", "code"), [("ok", "failed", 1), ("ok", "invalid", 1), ("failed", "ok", 3), ("failed", "failed", 3)]
)
def test_a_cell_that_fails(base: str, head: str, code: int) -> None:
    results = [
        made_up()
        if status == "ok"
        else made_up(status=status, error="no memory", latency_ms=None, latency_ms_by_stage=None, macs=None)
        for status in (base, head)
    ]
    comparison = of(results[1], results[0])
    assert (comparison.exit_code, the_cell(comparison).verdict) == (code, "unknown")
    side, status = ("HEAD", head) if base == "ok" else ("BASE", base)
    assert the_cell(comparison).reason == f"{status} in {side}: no memory"


def test_a_cell_of_one_side_cannot_be_told() -> None:
    both = [made_up("one"), made_up("two")]
    missing, added = compare(both, both[:1]), compare(both[:1], both)
    assert (missing.exit_code, missing.only_in_base, missing.only_in_head) == (3, ("two",), ())
    assert (added.exit_code, added.only_in_base, added.only_in_head) == (3, (), ("two",))


def test_a_regression_weighs_more_than_what_cannot_be_told() -> None:
    base = [made_up(name) for name in ("one", "two", "three")]
    head = [made_up("one", total_ms=110), made_up("two", drawn=[1.0])]
    assert compare(base, head).exit_code == 1


def test_the_family_is_of_the_cells_that_are_compared_and_of_their_stages() -> None:
    names = [f"model-{number}" for number in range(20)]
    base = [made_up(name) for name in names]
    head = [made_up(name, drawn=speeds(number)) for number, name in enumerate(names)]
    comparison = compare(base, head)
    assert comparison.confidence == pytest.approx(1 - 0.05 / 20)
    assert comparison.stage_confidence == pytest.approx(1 - 0.05 / (20 * len(STAGES)))
    busy = Noise(verdict="contended")
    assert compare(base, [*head[:10], *(made_up(name, noise=busy) for name in names[10:])]).confidence == pytest.approx(
        0.995
    )


def test_each_model_has_its_threshold() -> None:
    thresholds = Thresholds(models={"two": 0.3})
    base, head = [made_up("one"), made_up("two")], [made_up("one", total_ms=110), made_up("two", total_ms=110)]
    comparison = compare(base, head, thresholds=thresholds)
    assert [(cell.threshold, cell.verdict) for cell in comparison.cells] == [(0.05, "slower"), (0.3, "same")]


def test_restarts_in_lockstep_are_compared_in_pairs() -> None:
    states = speeds(3, 15, noise=0.15)
    head = [1.05 * value for value in states]
    assert of(made_up(drawn=head), made_up(drawn=states)).exit_code == 3
    found = of(made_up(drawn=head), made_up(drawn=states), estimator=paired)
    assert (found.exit_code, the_cell(found).verdict) == (1, "slower")


def test_stages_that_take_no_time_or_are_on_one_side_are_left_out() -> None:
    base = made_up(stages={"text": 0.1, "visual": 0.4, "head": 0.1})
    assert base.latency_ms_by_stage
    still = base.latency_ms_by_stage | {"head": summarise([[0.0]] * 15)}
    cell = the_cell(of(made_up(latency_ms_by_stage=still), base))
    assert [stage.stage for stage in cell.stages] == ["text", "visual"]
    cell = the_cell(of(made_up(stages={"visual": 0.4, "interaction": 0.1}), base))
    assert [stage.stage for stage in cell.stages] == ["visual"]


def test_without_stages_a_slower_cell_is_slower_all_the_same() -> None:
    cell = the_cell(of(made_up(total_ms=120, stages={}), made_up(stages={})))
    assert (cell.verdict, cell.moved, cell.stages) == ("slower", None, ())


def test_another_machine_needs_force() -> None:
    base = made_up()
    head = base.model_copy(update={"machine": base.machine.model_copy(update={"cpu": "Other"})})
    with pytest.raises(InputError, match="another machine"):
        of(head, base)
    assert of(head, base, force=True).differences == ("another machine: cpu 'Made-up 9000' in BASE, Other in HEAD",)

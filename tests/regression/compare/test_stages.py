"""The stage that moved, on passes whose change is known."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.regression.compare.conftest import STAGES, made_up, slowed
from vlbench.measuring.statistics import LatencySummary, summarise
from vlbench.regression.compare.outcomes import Moved
from vlbench.regression.compare.stages import BETWEEN, leaf_shares, moved_stage

STATES = (0.83, 1.0, 1.17)
LEAVES = {"text": 0.05, "visual.backbone": 0.2, "visual.projection": 0.04, "interaction": 0.6, "head": 0.06}


def stages_of(result) -> dict[str, LatencySummary]:
    assert result.latency_ms_by_stage
    return result.latency_ms_by_stage


def drawn_pass(source: random.Random, restarts: int, leaves: dict[str, float]) -> dict[str, LatencySummary]:
    """Each restart draws a speed that all its stages share; each stage has noise of its own beside it."""
    samples: dict[str, list[list[float]]] = {name: [] for name in ("total", "visual", *leaves)}
    for _ in range(restarts):
        speed = 100 * source.choice(STATES)
        parts = {name: speed * part * source.lognormvariate(0, 0.015) for name, part in leaves.items()}
        visual = sum(value for name, value in parts.items() if name.startswith("visual"))
        for name, value in {"total": sum(parts.values()) + 0.05 * speed, "visual": visual, **parts}.items():
            samples[name].append([value])
    return {name: summarise(values) for name, values in samples.items()}


def test_leaves_and_what_lies_between_make_up_the_pass() -> None:
    shares = leaf_shares(stages_of(made_up()))
    assert shares == pytest.approx(
        {
            "text": 0.05,
            "visual": 0.01,
            "visual.backbone": 0.2,
            "visual.projection": 0.04,
            "interaction": 0.6,
            BETWEEN: 0.1,
        }
    )


def test_steps_of_steps_and_a_step_whose_stage_is_not_timed() -> None:
    parts = {"total": 1.0, "visual.backbone": 0.5, "visual.backbone.res2": 0.2, "other.step": 0.1}
    shares = leaf_shares({name: summarise([[part]]) for name, part in parts.items()})
    assert shares == pytest.approx(
        {"visual.backbone": 0.3, "visual.backbone.res2": 0.2, "other.step": 0.1, BETWEEN: 0.4}
    )


@pytest.mark.parametrize("stage", ["text", "visual.backbone", "visual.projection", "interaction"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_a_change_in_one_stage_is_all_of_the_change(stage: str, share: float) -> None:
    moved = moved_stage(stages_of(made_up()), stages_of(slowed("vilt-b32", stage, share)), 1 + share)
    assert moved
    assert moved.stage == stage
    assert moved.share == pytest.approx(1)
    assert moved.text == f"{stage}, all of the change"


def test_a_stage_that_got_faster_is_named_too() -> None:
    moved = moved_stage(stages_of(slowed("vilt-b32", "interaction", 0.2)), stages_of(made_up()), 1 / 1.2)
    assert moved
    assert (moved.stage, moved.share) == ("interaction", pytest.approx(1))


def test_the_share_is_of_the_change_end_to_end() -> None:
    """12 ms more, 9 of them in the interaction and 3 in the text."""
    changed = STAGES | {"interaction": 0.69, "text": 0.08}
    head = made_up(total_ms=112, stages={name: part / 1.12 for name, part in changed.items()})
    moved = moved_stage(stages_of(made_up()), stages_of(head), 1.12)
    assert moved
    assert (moved.stage, moved.share, moved.text) == (
        "interaction",
        pytest.approx(0.75),
        "interaction, 75% of the change",
    )


def test_what_a_stage_does_beside_its_steps() -> None:
    changed = STAGES | {"visual": 0.35}
    head = made_up(total_ms=110, stages={name: part / 1.1 for name, part in changed.items()})
    moved = moved_stage(stages_of(made_up()), stages_of(head), 1.1)
    assert moved
    assert (moved.stage, moved.text) == ("visual", "visual outside its steps, all of the change")


def test_time_that_passes_between_the_stages() -> None:
    head = made_up(total_ms=110, stages={name: part / 1.1 for name, part in STAGES.items()})
    moved = moved_stage(stages_of(made_up()), stages_of(head), 1.1)
    assert moved
    assert moved.stage == BETWEEN


def test_a_change_of_many_stages_is_of_none() -> None:
    changed = {"text": 0.09, "visual": 0.29, "visual.backbone": 0.24, "visual.projection": 0.04, "interaction": 0.64}
    head = made_up(total_ms=112, stages={name: part / 1.12 for name, part in changed.items()})
    moved = moved_stage(stages_of(made_up()), stages_of(head), 1.12)
    assert moved == Moved(stage=None, share=None, text="no single stage")


def test_a_slower_machine_is_no_slower_stage() -> None:
    moved = moved_stage(stages_of(made_up()), stages_of(made_up(total_ms=110)), 1.1)
    assert moved == Moved(stage=None, share=None, text="all stages alike")


def test_a_stage_that_is_new_explains_the_change() -> None:
    base = {name: part for name, part in STAGES.items() if name != "visual.projection"}
    before = made_up(total_ms=96, stages={name: part / 0.96 for name, part in (base | {"visual": 0.21}).items()})
    moved = moved_stage(stages_of(before), stages_of(made_up()), 1 / 0.96)
    assert moved
    assert moved.stage == "visual.projection"


@pytest.mark.parametrize("ratio", [1.0, 1.1])
def test_without_a_pass_by_stage_nothing_is_named(ratio: float) -> None:
    assert moved_stage({}, {}, ratio) is None
    assert moved_stage({"text": summarise([[1.0]])}, {"text": summarise([[2.0]])}, ratio) is None


def test_a_stage_of_fewer_restarts_than_the_whole_is_still_taken() -> None:
    base = {"total": summarise([[10.0]] * 5), "text": summarise([[2.0]] * 4)}
    assert leaf_shares(base) == pytest.approx({"text": 0.2, BETWEEN: 0.8})


@pytest.mark.parametrize("stage", ["visual.projection", "visual.backbone", "interaction"])
@pytest.mark.parametrize("slowdown", [0.05, 0.1])
def test_it_is_named_though_processes_draw_their_speed(stage: str, slowdown: float) -> None:
    source, named = random.Random(3), Counter[str | None]()
    for _ in range(50):
        base, head = drawn_pass(source, 9, LEAVES), drawn_pass(source, 9, LEAVES | {stage: LEAVES[stage] + slowdown})
        moved = moved_stage(base, head, 1 + slowdown * source.lognormvariate(0, 0.1))
        assert moved
        named[moved.stage] += 1
    assert named[stage] >= 48


def test_a_machine_that_is_slower_as_a_whole_names_no_stage_though_processes_draw_their_speed() -> None:
    source, named = random.Random(4), Counter[str | None]()
    for _ in range(50):
        base, head = drawn_pass(source, 9, LEAVES), drawn_pass(source, 9, LEAVES)
        moved = moved_stage(base, head, 1.08)
        assert moved
        named[moved.stage] += 1
    assert named[None] >= 48

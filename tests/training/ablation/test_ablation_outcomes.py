"""Means, paired differences and verdicts, against SciPy and by hand, and how they are printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from vlbench.suites.ablations import Ablation
from vlbench.tables.writers import to_latex, to_markdown
from vlbench.training.ablation.ablation_figure import draw
from vlbench.training.ablation.arm_outcomes import (
    AblationOutcome,
    ArmKey,
    Difference,
    difference,
    outcome_of,
    verdict_of,
)
from vlbench.training.ablation.tables import ablation_json, ablation_tables, notes, save

SEEDS = (0, 1, 2)
CONTENT = {
    "name": "ablation-made-up",
    "kind": "ablation",
    "title": "Plain or changed",
    "source": {"paper": "none", "note": "Nothing is reproduced here."},
    "models": ["vilt-b32"],
    "budget": 100,
    "reference": "plain",
    "arms": [
        {"label": "plain"},
        {
            "label": "changed",
            "recipe": {"augmentation": True},
            "reported": [
                {"paper": "A", "where": "Table 1", "metric": "VQA", "reference": 70.33, "arm": 70.85},
                {"paper": "A", "where": "Table 1", "metric": "NLVR2", "reference": 74.41, "arm": 73.54},
            ],
        },
        {"label": "other", "recipe": {"alignment": 0.1}},
    ],
}
SUITE = Ablation.model_validate(CONTENT)
PLAIN, CHANGED = (0.60, 0.64, 0.62), (0.65, 0.68, 0.68)


def outcome(**more: float) -> AblationOutcome:
    accuracies = {ArmKey("vilt-b32", "plain", seed): value for seed, value in zip(SEEDS, PLAIN, strict=True)}
    accuracies |= {ArmKey("vilt-b32", "changed", seed): value for seed, value in zip(SEEDS, CHANGED, strict=True)}
    accuracies |= {ArmKey("vilt-b32", "other", int(seed[1:])): value for seed, value in more.items()}
    return outcome_of(SUITE, accuracies, seeds=SEEDS, conditions="Briefly.", quick=False)


def test_means_and_deviations_are_over_seeds() -> None:
    plain, changed, _ = outcome().arms
    assert plain.mean == pytest.approx(62.0)
    assert plain.deviation == pytest.approx(2.0)  # squares 4, 4, 0 over n - 1 = 2
    assert (plain.verdict, plain.difference) == ("reference", None)
    assert changed.difference is not None
    assert changed.difference.mean == pytest.approx(5.0)  # 5, 4, 6
    assert changed.difference.deviation == pytest.approx(1.0)


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    compared = difference(dict(enumerate(CHANGED)), dict(enumerate(PLAIN)))
    expected = stats.ttest_rel(CHANGED, PLAIN).confidence_interval(0.95)
    assert compared is not None
    assert compared.interval == pytest.approx((expected.low, expected.high))


def test_only_seeds_that_both_have_are_compared() -> None:
    compared = difference({0: 61.0, 2: 65.0, 3: 99.0}, {2: 60.0, 0: 60.0, 1: 0.0})
    assert compared is not None
    assert compared.mean == pytest.approx(3.0)
    assert compared.deviation == pytest.approx(8**0.5)
    assert compared.interval is None, "two seeds are too few"
    assert difference({0: 1.0}, {1: 1.0}) is None
    assert difference({0: 61.0}, {0: 60.0}) == Difference(mean=1.0, deviation=None, interval=None)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.1, 9.0), "better"),
        ((-9.0, -0.1), "worse"),
        ((-0.9, 1.0), "same"),
        ((0.0, 0.0), "same"),
        ((0.5, 0.5), "unknown"),
        ((-0.9, 1.1), "unknown"),
        ((-1.1, 0.2), "unknown"),
        (None, "unknown"),
    ],
)
def test_verdicts(interval: tuple[float, float] | None, verdict: str) -> None:
    assert verdict_of(Difference(mean=0.0, deviation=None, interval=interval)) == verdict


def test_what_is_not_trained_is_missing() -> None:
    unfinished = outcome(s0=0.7)
    other = unfinished.arms[2]
    assert (other.missing, other.verdict, other.deviation) == ((1, 2), "unknown", None)
    assert not unfinished.complete
    assert "Not trained yet: vilt-b32 other, seed 1; vilt-b32 other, seed 2" in notes(unfinished)
    nothing = outcome().arms[2]
    assert (nothing.mean, nothing.verdict, nothing.missing) == (None, "missing", SEEDS)
    assert outcome(s0=0.7, s1=0.7, s2=0.7).complete


def test_the_sign_is_that_of_the_paper_only_where_both_are_clear() -> None:
    plain, changed, other = outcome(s0=0.5, s1=0.5, s2=0.5).arms
    assert [reported.delta for reported in changed.reported] == [0.52, -0.87]
    assert (plain.agrees, changed.agrees, other.agrees) == (None, True, None)
    accuracies = {ArmKey("vilt-b32", "plain", seed): 0.6 for seed in SEEDS}
    accuracies |= {ArmKey("vilt-b32", "changed", seed): 0.3 - 0.01 * seed for seed in SEEDS}
    _, worse, _ = outcome_of(SUITE, accuracies, seeds=SEEDS, conditions="", quick=False).arms
    assert (worse.verdict, worse.agrees) == ("worse", False)


def test_tables_have_values_notes_and_gaps(tmp_path: Path) -> None:
    unfinished = outcome(s0=0.7)
    (table,) = ablation_tables([unfinished])
    plain, changed, other = (dict(zip(table.names, texts, strict=True)) for texts in table.texts)
    assert [row["arm"] for row in (plain, changed, other)] == ["plain", "changed", "other"]
    assert changed["points"] == "+5.0 ± 1.0"
    assert changed["paper's points"] == "+0.52"
    assert other["seeds"] == "1 of 3"
    for written in (to_markdown([table]), to_latex([table])):
        for words in ("62.0 ± 2.0", "better", "VQA 70.33 to 70.85, +0.52 (A, Table 1)", "Nothing is reproduced here."):
            assert words in written
    (content,) = json.loads(ablation_json([unfinished]))["ablations"]
    assert content["reference"] == "plain"
    assert content["arms"][1]["accuracy"] == {"0": 65.0, "1": 68.0, "2": 68.0}
    assert content["arms"][1]["reported"][0]["delta"] == 0.52
    save([unfinished], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"ablation-made-up.md", "ablation-made-up.json"}


def test_the_figure_shows_what_is_trained(tmp_path: Path) -> None:
    first, second = draw([outcome(s0=0.7)], tmp_path)
    assert first.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in second.read_text()
    again = second.read_bytes()
    draw([outcome(s0=0.7)], tmp_path)
    assert second.read_bytes() == again
    nothing = outcome_of(SUITE, {}, seeds=SEEDS, conditions="", quick=False)
    assert draw([nothing], tmp_path) == []

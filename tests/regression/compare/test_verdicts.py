"""The rule at its edges, how wide the family is, and what a reason advises."""

from __future__ import annotations

import re

import pytest

from tests.regression.compare.conftest import speeds
from vlbench.measuring.rank_tests import least_pairs
from vlbench.regression.compare.effects import Effect, independent
from vlbench.regression.compare.verdicts import Decision, change, confidence_for, decide, in_percent


def verdict(ratio: float, low: float | None, high: float | None, threshold: float = 0.05) -> str:
    return decision(ratio, low, high, threshold).verdict


def decision(ratio: float, low: float | None, high: float | None, threshold: float = 0.05) -> Decision:
    return decide(Effect(ratio=ratio, low=low, high=high), threshold, restarts=(15, 15), confidence=0.99)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "expected"),
    [
        (1.05, 1.04, 1.06, "slower"),
        (1.03, 1.0001, 1.2, "slower"),
        (1.0299, 1.0001, 1.049, "same"),
        (1.0299, 1.0001, 1.051, "unknown"),
        (1.2, 1.0, 1.4, "unknown"),
        (1.0, 0.99, 1.01, "same"),
        (1.0, 0.96, 1.049, "same"),
        (1.0, 0.95, 1.04, "unknown"),
        (1.0, 0.96, 1.05, "unknown"),
        (1 / 1.03, 0.9, 0.9999, "faster"),
        (1 / 1.029, 0.96, 0.9999, "same"),
        (0.8, 0.7, 1.0, "unknown"),
        (1.0, 1.0, 1.0, "same"),
        (1.5, None, None, "unknown"),
    ],
)
def test_the_rule(ratio: float, low: float | None, high: float | None, expected: str) -> None:
    assert verdict(ratio, low, high) == expected


@pytest.mark.parametrize("base_ms", [1.0, 3.0, 7.0, 9.7, 11.0, 70.0, 130.0])
@pytest.mark.parametrize(
    ("share", "expected"), [(0.03, "slower"), (0.03 - 1e-6, "same"), (-0.03 / 1.03, "faster"), (-0.029, "same")]
)
def test_rounding_does_not_decide_a_change_of_exactly_the_line(base_ms: float, share: float, expected: str) -> None:
    effect = independent([base_ms] * 6, [base_ms * (1 + share)] * 6, 0.95)
    assert decide(effect, 0.05, restarts=(6, 6), confidence=0.95).verdict == expected


@pytest.mark.parametrize("base_ms", [1.0, 3.0, 7.0, 9.7, 11.0, 70.0, 130.0])
def test_rounding_does_not_decide_an_interval_that_ends_at_exactly_the_threshold(base_ms: float) -> None:
    head_ms = [base_ms * 1.05, *[base_ms * 1.001] * 3, base_ms * 0.999, base_ms * 0.999]
    effect = independent([base_ms] * 6, head_ms, 0.99)
    assert effect.high == pytest.approx(1.05)
    assert decide(effect, 0.05, restarts=(6, 6), confidence=0.99).verdict == "unknown"


@pytest.mark.parametrize(
    ("ratio", "threshold", "expected"), [(1.05, 0.1, "same"), (1.06, 0.1, "slower"), (1.013, 0.02, "slower")]
)
def test_the_line_moves_with_the_threshold(ratio: float, threshold: float, expected: str) -> None:
    assert verdict(ratio, ratio - 0.001, ratio + 0.001, threshold) == expected


@pytest.mark.parametrize(
    ("cells", "confidence"), [(0, 0.99), (1, 0.99), (5, 0.99), (6, 1 - 0.05 / 6), (20, 0.9975), (160, 1 - 0.05 / 160)]
)
def test_the_family_is_5_percent_and_no_cell_more_than_1(cells: int, confidence: float) -> None:
    assert confidence_for(cells) == pytest.approx(confidence)


def test_a_small_change_that_is_real_is_said() -> None:
    assert decision(1.02, 1.01, 1.03).reason == "slower, but by less than 3%"
    assert decision(0.98, 0.97, 0.99).reason == "faster, but by less than 3%"
    assert decision(1.0, 0.99, 1.01).reason is None
    assert decision(1.1, 1.09, 1.11).reason is None


@pytest.mark.parametrize(
    ("restarts", "confidence", "said"),
    [
        ((6, 6), 0.999, "6 restarts: too few for an interval of 99.9%; measure with --restarts 12"),
        ((1, 1), 0.99, "1 restart: too few for an interval of 99%; measure with --restarts 12"),
        ((3, 15), 0.9999, "3 restarts against 15: too few for an interval of 99.99%; measure with --restarts 12"),
        ((4, 4), 1 - 1e-9, "4 restarts: too few for an interval of 99.99%; measure with --restarts 17"),
    ],
)
def test_too_few_restarts_are_said_with_how_many_would_do(
    restarts: tuple[int, int], confidence: float, said: str
) -> None:
    effect = Effect(ratio=1.5, low=None, high=None)
    assert decide(effect, 0.05, restarts=restarts, confidence=confidence).reason == said


def test_pairs_need_other_numbers() -> None:
    found = decide(Effect(ratio=1.5, low=None, high=None), 0.05, restarts=(6, 6), confidence=0.9999, least=least_pairs)
    assert found.reason
    assert found.reason.endswith("--restarts 15")


def test_restarts_that_differ_too_much_are_no_matter_of_their_number() -> None:
    assert decision(1.0, 0.7, 1.4).reason == (
        "anything from -30.0% to +40.0% is possible; the restarts differ too much for more of them to help, "
        "see vlbench doctor"
    )


@pytest.mark.parametrize("truth", [1.0, 1.06])
def test_the_number_of_restarts_that_it_advises_mostly_decides(truth: float) -> None:
    asked = decided = 0
    for trial in range(200):
        base, head = speeds(2 * trial, 15, noise=0.06), speeds(2 * trial + 1, 15, noise=0.06)
        first = decide(
            independent(base, [truth * value for value in head], 0.99), 0.05, restarts=(15, 15), confidence=0.99
        )
        advised = re.search(r"--restarts (\d+)$", first.reason or "")
        if first.verdict != "unknown" or not advised:
            continue
        assert int(advised[1]) > 15
        asked += 1
        base, head = (speeds(seed + 10_000, int(advised[1]), noise=0.06) for seed in (2 * trial, 2 * trial + 1))
        again = independent(base, [truth * value for value in head], 0.99)
        decided += decide(again, 0.05, restarts=(15, 15), confidence=0.99).verdict != "unknown"
    assert asked >= 50
    assert decided >= 0.4 * asked


@pytest.mark.parametrize(("ratio", "text"), [(1.104, "+10.4%"), (0.9, "-10.0%"), (0.99999, "+0.0%"), (1.0, "+0.0%")])
def test_changes_in_words(ratio: float, text: str) -> None:
    assert change(ratio) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.05, "5%"),
        (0.9975, "99.75%"),
        (0.99, "99%"),
        (0.9999, "99.99%"),
        (1 - 1e-9, "99.99%"),
        (0.025, "2.5%"),
        (1 - 0.05 / 18, "99.72%"),
    ],
)
def test_shares_in_words(share: float, text: str) -> None:
    assert in_percent(share) == text


@pytest.mark.parametrize(
    ("states", "noise"), [((1.0,), 0.008), ((1.0,), 0.03), ((0.83, 1.0, 1.17), 0.008), ((1.0, 1.17), 0.008)]
)
def test_unchanged_code_is_called_changed_in_at_most_1_percent(states: tuple[float, ...], noise: float) -> None:
    alarms = 0
    for trial in range(1_000):
        base, head = (speeds(seed, 15, noise=noise, states=states) for seed in (2 * trial, 2 * trial + 1))
        found = decide(independent(base, head, 0.99), 0.05, restarts=(15, 15), confidence=0.99)
        alarms += found.verdict in ("faster", "slower")
    assert alarms <= 16  # 1% of 1,000, and two standard deviations of what is drawn


@pytest.mark.parametrize(("truth", "noise", "least"), [(1.05, 0.008, 0.99), (1.05, 0.02, 0.9), (1.1, 0.03, 0.99)])
def test_a_real_slowdown_is_found(truth: float, noise: float, least: float) -> None:
    found = 0
    for trial in range(300):
        base, head = (speeds(seed, 15, noise=noise) for seed in (2 * trial, 2 * trial + 1))
        effect = independent(base, [truth * value for value in head], confidence_for(20))
        found += decide(effect, 0.05, restarts=(15, 15), confidence=confidence_for(20)).verdict == "slower"
    assert found >= least * 300

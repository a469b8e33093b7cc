"""Effects against scipy's tests turned round, and by how often their intervals hold a known truth."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from fractions import Fraction
from itertools import combinations_with_replacement
from math import exp, log

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, wilcoxon

from tests.regression.compare.conftest import speeds
from vlbench.measuring.rank_tests import rank_sum_interval_rank, signed_rank_interval_rank
from vlbench.regression.compare.effects import Effect, Estimator, independent, paired

STATES = (0.83, 1.0, 1.17)


@pytest.mark.parametrize(("base", "head"), [(15, 15), (6, 6), (6, 20), (9, 12), (31, 18)])
@pytest.mark.parametrize("confidence", [0.95, 0.99, 0.9975])
def test_the_interval_holds_the_shifts_that_mann_and_whitney_do_not_reject(
    base: int, head: int, confidence: float
) -> None:
    first, second = speeds(1, base, noise=0.05), speeds(2, head, noise=0.05)
    effect = independent(first, second, confidence)
    assert effect.low
    assert effect.high

    def p_value(shift: float) -> float:
        return mannwhitneyu(np.log(second) - shift, np.log(first), method="exact").pvalue

    for bound, inwards in ((effect.low, 1e-9), (effect.high, -1e-9)):
        assert p_value(log(bound) + inwards) > 1 - confidence
        assert p_value(log(bound) - inwards) <= 1 - confidence


@pytest.mark.parametrize("pairs", [8, 9, 15, 30])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_the_interval_of_pairs_holds_the_shifts_that_wilcoxon_does_not_reject(pairs: int, confidence: float) -> None:
    first, second = speeds(1, pairs, noise=0.05), speeds(2, pairs, noise=0.05)
    effect = paired(first, second, confidence)
    assert effect.low
    assert effect.high

    def p_value(shift: float) -> float:
        return wilcoxon(np.log(second) - np.log(first) - shift, method="exact").pvalue

    for bound, inwards in ((effect.low, 1e-9), (effect.high, -1e-9)):
        assert p_value(log(bound) + inwards) > 1 - confidence
        assert p_value(log(bound) - inwards) <= 1 - confidence


def test_the_ratio_is_the_median_of_all_ratios() -> None:
    assert independent([1.0, 2.0, 4.0], [3.0, 8.0], 0.95).ratio == pytest.approx(
        exp(np.median(np.log([3, 1.5, 0.75, 8, 4, 2])))
    )
    walsh = [log(2), log(3), log(4), log(6) / 2, log(8) / 2, log(12) / 2]
    assert paired([1.0, 1.0, 1.0], [2.0, 3.0, 4.0], 0.95).ratio == pytest.approx(exp(np.median(walsh)))


def test_it_does_not_matter_which_side_is_the_base_nor_in_which_unit() -> None:
    first, second = speeds(3), speeds(4)
    forth, back = (
        independent(first, second, 0.99),
        independent([1e3 * value for value in second], [1e3 * value for value in first], 0.99),
    )
    assert forth.low
    assert forth.high
    assert forth.ratio == pytest.approx(1 / back.ratio)
    assert (back.low, back.high) == pytest.approx((1 / forth.high, 1 / forth.low))


def test_too_few_restarts_have_a_ratio_without_bounds() -> None:
    assert independent([100.0] * 4, [110.0] * 4, 0.99) == Effect(ratio=pytest.approx(1.1), low=None, high=None)
    assert independent([100.0] * 5, [110.0] * 5, 0.99).low == pytest.approx(1.1)
    assert paired([100.0] * 5, [110.0] * 5, 0.95).high is None
    assert paired([100.0] * 6, [110.0] * 6, 0.95).high == pytest.approx(1.1)


@pytest.mark.parametrize("function", [independent, paired])
@pytest.mark.parametrize(("base", "head"), [([], []), ([1.0], [0.0]), ([-1.0], [1.0])])
def test_what_is_no_latency_is_an_error(function, base: list[float], head: list[float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        function(base, head, 0.95)


def test_pairs_of_different_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="argument 2"):
        paired([1.0, 2.0], [1.0], 0.95)


@pytest.mark.parametrize("states", [(1.0,), STATES, (0.83, *[1.0] * 8, 1.17), (1.0, 1.17)])
@pytest.mark.parametrize(("base", "head", "confidence"), [(15, 15, 0.95), (15, 15, 0.99), (6, 6, 0.95), (9, 30, 0.99)])
def test_intervals_hold_the_truth_as_often_as_they_say(
    states: tuple[float, ...], base: int, head: int, confidence: float
) -> None:
    held, trials = 0, 1_000
    for trial in range(trials):
        effect = independent(
            speeds(2 * trial, base, states=states), speeds(2 * trial + 1, head, states=states), confidence
        )
        assert effect.low
        assert effect.high
        held += effect.low <= 1 <= effect.high
    spread = 3 * (confidence * (1 - confidence) / trials) ** 0.5
    assert confidence - spread <= held / trials <= 1 - (1 - confidence) / 3  # exact tests of few orders hold a bit more


def test_intervals_of_pairs_hold_the_truth_though_both_drift_together() -> None:
    source, held = random.Random(5), 0
    for _ in range(1_000):
        drift = [source.choice(STATES) * (1 + 0.01 * number) for number in range(15)]
        base, head = ([value * source.lognormvariate(0, 0.01) for value in drift] for _ in range(2))
        effect = paired(base, head, 0.95)
        assert effect.low
        assert effect.high
        held += effect.low <= 1 <= effect.high
    assert 0.93 <= held / 1_000 <= 0.98


def side_of_none(ends: Iterable[float | Fraction | None]) -> list[int]:
    """-1 below 1, 0 at exactly 1, 1 above."""
    return [(end > 1) - (end < 1) for end in ends if end is not None]


def exact_sides(ratios: Iterable[Fraction], rank: int) -> list[int]:
    """The same of the rank-th smallest and the rank-th largest of exact ratios."""
    ordered = sorted(ratios)
    return side_of_none((ordered[rank - 1], ordered[-rank]))


@pytest.mark.parametrize("seed", range(40))
def test_ties_at_exactly_no_change_are_decided_as_exact_fractions_are(seed: int) -> None:
    """Latencies of one digit tie often, and the logarithms of such pairs do not add up to exactly 0."""
    numbers, pairs = random.Random(seed), 8
    texts = [[f"{numbers.randint(1, 9) / 10}" for _ in range(pairs)] for _ in range(2)]
    base, head = ([float(text) for text in side] for side in texts)
    exact_base, exact_head = ([Fraction(text) for text in side] for side in texts)
    for confidence in (0.95, 0.8, 0.5):
        ratios = [after / before for before, after in zip(exact_base, exact_head, strict=True)]
        walsh = [first * second for first, second in combinations_with_replacement(ratios, 2)]
        effect = paired(base, head, confidence)
        rank = signed_rank_interval_rank(pairs, 1 - confidence)
        assert side_of_none((effect.low, effect.high)) == exact_sides(walsh, rank)
        every = [after / before for before in exact_base for after in exact_head]
        effect = independent(base, head, confidence)
        rank = rank_sum_interval_rank(pairs, pairs, 1 - confidence)
        assert side_of_none((effect.low, effect.high)) == exact_sides(every, rank)


@pytest.mark.parametrize("estimate", [independent, paired])
@pytest.mark.parametrize(
    ("moved", "real"), [(1000.0, False), (1000 + math.ulp(1000), True), (1000 - math.ulp(999), True)]
)
def test_one_step_of_floating_point_from_no_change_is_a_change(estimate: Estimator, moved: float, real: bool) -> None:
    """The logarithms of 1,000 and of its neighbours are equal."""
    assert estimate([1000.0] * 6, [moved] * 6, 0.95).real is real


@pytest.mark.parametrize(
    ("faster", "slower"), [((2.1, 1.1), (2.2, 4.2)), ((3.3, 0.7), (1.4, 6.6)), ((0.3, 0.1), (0.2, 0.6))]
)
def test_a_faster_and_an_equally_slower_pair_tie(faster: tuple[float, float], slower: tuple[float, float]) -> None:
    base, head = zip(*[faster, slower] * 4, strict=True)
    tie = paired(base, head, 0.5)
    assert (tie.ratio, tie.low, tie.high, tie.real) == (1, 1, 1, False)

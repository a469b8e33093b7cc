"""Scores of cuts against scipy's exact test and against counting by hand."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from vlbench.measuring.rank_tests import FEWEST_PER_SIDE, LONGEST_SEGMENT, best_possible_score, cut_scores


@pytest.mark.parametrize("length", [6, 7, 11, 24, 40, LONGEST_SEGMENT])
def test_scores_are_of_scipys_exact_p(length: int) -> None:
    generator = np.random.default_rng(length)
    values = generator.normal(0, 1, length)
    values[length // 2 :] += 1.5  # some p far from 1
    scores = cut_scores(values[None])[0]
    expected = [
        mannwhitneyu(values[:cut], values[cut:], method="exact").pvalue
        for cut in range(FEWEST_PER_SIDE, length - FEWEST_PER_SIDE + 1)
    ]
    assert np.exp(-scores) == pytest.approx(expected, rel=1e-9)


def test_a_score_is_the_share_of_all_orders_that_reach_it() -> None:
    orders = np.array(list(permutations(range(7))))
    scores = cut_scores(orders)[:, 1]  # before the fifth value
    for score in np.unique(scores):
        assert math.exp(-score) == pytest.approx(np.mean(scores >= score - 1e-12), rel=1e-9)


def test_scores_are_the_same_backwards_and_upside_down() -> None:
    values = np.random.default_rng(3).normal(0, 1, (50, 17))
    assert cut_scores(values[:, ::-1])[:, ::-1] == pytest.approx(cut_scores(values))
    assert cut_scores(-values) == pytest.approx(cut_scores(values))


def test_equal_values_never_make_a_score_higher_than_both_ways_to_order_them() -> None:
    whole = np.random.default_rng(4).integers(0, 4, (200, 14))
    rising, falling = whole + np.arange(14) * 1e-6, whole - np.arange(14) * 1e-6
    higher = np.maximum(cut_scores(rising), cut_scores(falling))
    assert (cut_scores(whole) <= higher + 1e-12).all()
    assert (cut_scores(np.ones((1, 20))) == 0).all()


def test_best_possible_is_perfect_separation() -> None:
    for length in (10, 15, 40):
        values = np.arange(length)
        assert cut_scores(values[None]).max() == pytest.approx(best_possible_score(length))
        assert best_possible_score(length) == pytest.approx(-math.log(2 / math.comb(length, length // 2)))

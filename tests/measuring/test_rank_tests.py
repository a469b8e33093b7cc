"""Exact null distributions against every order and sign there is, and the normal ones against the exact."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, product
from math import comb

import pytest

from vlbench.measuring import rank_tests
from vlbench.measuring.rank_tests import (
    least_pairs,
    least_restarts,
    rank_sum_counts,
    rank_sum_interval_rank,
    signed_rank_counts,
    signed_rank_interval_rank,
)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 6), (3, 4), (5, 5), (6, 4)])
def test_rank_sums_over_every_order(first: int, second: int) -> None:
    counted = Counter(
        sum(place - rank for rank, place in enumerate(places)) for places in combinations(range(first + second), first)
    )
    assert rank_sum_counts(first, second) == tuple(counted[value] for value in range(first * second // 2 + 1))


@pytest.mark.parametrize("pairs", [1, 2, 5, 8])
def test_signed_ranks_over_every_choice_of_signs(pairs: int) -> None:
    counted = Counter(
        sum(rank for rank, sign in enumerate(signs, start=1) if sign) for signs in product((0, 1), repeat=pairs)
    )
    assert signed_rank_counts(pairs) == tuple(counted[value] for value in range(pairs * (pairs + 1) // 4 + 1))


@pytest.mark.parametrize(("first", "second", "rank"), [(5, 5, 3), (8, 8, 14), (10, 12, 30), (20, 20, 128), (4, 9, 5)])
def test_ranks_are_those_of_the_published_tables(first: int, second: int, rank: int) -> None:
    """Critical values of Mann and Whitney's U at 5%, two sides: 2, 13, 29, 127, 4; the interval's rank is one more."""
    assert rank_sum_interval_rank(first, second, 0.05) == rank


@pytest.mark.parametrize(("pairs", "rank"), [(6, 1), (8, 4), (15, 26), (25, 90)])
def test_signed_ranks_are_those_of_the_published_tables(pairs: int, rank: int) -> None:
    """Critical values of Wilcoxon's signed ranks at 5%, two sides: 0, 3, 25 and 89."""
    assert signed_rank_interval_rank(pairs, 0.05) == rank


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.0025, 0.0003])
def test_the_normal_ranks_of_large_samples_are_near_and_never_bolder(
    alpha: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (64, 70):
        normal = (
            rank_sum_interval_rank.__wrapped__(size, size, alpha),
            signed_rank_interval_rank.__wrapped__(size, alpha),
        )
        with monkeypatch.context() as patched:
            patched.setattr(rank_tests, "EXACT_PAIRS", 10_000)
            patched.setattr(rank_tests, "EXACT_SIGNED", 1_000)
            exact = (
                rank_sum_interval_rank.__wrapped__(size, size, alpha),
                signed_rank_interval_rank.__wrapped__(size, alpha),
            )
        assert 0 <= exact[0] - normal[0] <= 0.01 * exact[0]
        assert 0 <= exact[1] - normal[1] <= 0.04 * exact[1]


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.0025, 0.0001])
def test_the_fewest_restarts_are_those_whose_two_extreme_orders_are_rare_enough(alpha: float) -> None:
    assert 2 / comb(2 * least_restarts(alpha), least_restarts(alpha)) <= alpha
    assert 2 / comb(2 * least_restarts(alpha) - 2, least_restarts(alpha) - 1) > alpha
    assert 2 / 2 ** least_pairs(alpha) <= alpha < 2 / 2 ** (least_pairs(alpha) - 1)


def test_one_restart_carries_nothing() -> None:
    assert rank_sum_interval_rank(1, 1, 0.05) == signed_rank_interval_rank(1, 0.05) == 0

"""Exact null distributions of the two rank statistics, and the rank that ends an interval of given confidence.

Mann-Whitney's U (two independent samples) and Wilcoxon's W (signed ranks of pairs) count, under the hypothesis that
nothing differs, orders and signs that are all equally likely; the counts below are of those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from math import comb, floor, sqrt
from statistics import NormalDist

EXACT_PAIRS = 4_000  # of restarts, 60 against 60 and more; from there on the normal distribution is as good
EXACT_SIGNED = 60


@cache
def rank_sum_counts(first: int, second: int) -> tuple[int, ...]:
    """Orders of two samples that give U = 0, 1, ... to the middle; all together there are comb(first + second, first).

    The counts are the coefficients of the Gaussian binomial, the product of (1 - q^(second+i)) / (1 - q^i).
    """
    first, second = sorted((first, second))
    counts = [1] + [0] * (first * second // 2)
    for step in range(1, first + 1):
        for power in range(len(counts) - 1, second + step - 1, -1):
            counts[power] -= counts[power - second - step]
        for power in range(step, len(counts)):
            counts[power] += counts[power - step]
    return tuple(counts)


@cache
def signed_rank_counts(pairs: int) -> tuple[int, ...]:
    """Choices of signs that give W = 0, 1, ... to the middle; all together there are 2^pairs."""
    counts = [1] + [0] * (pairs * (pairs + 1) // 4)
    for rank in range(1, pairs + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return tuple(counts)


@cache
def rank_sum_rank(first: int, second: int, alpha: float) -> int:
    """The largest k for which the k-th smallest and k-th largest difference of two samples enclose their shift with
    confidence 1 - alpha: 2 P[U < k] <= alpha. 0 where the samples are too small for any."""
    if first * second <= EXACT_PAIRS:
        return _exact(rank_sum_counts(first, second), comb(first + second, first), alpha)
    return _normal(first * second / 2, first * second * (first + second + 1) / 12, alpha)


@cache
def signed_rank_rank(pairs: int, alpha: float) -> int:
    """The same for the Walsh averages of pairs: 2 P[W < k] <= alpha."""
    if pairs <= EXACT_SIGNED:
        return _exact(signed_rank_counts(pairs), 2**pairs, alpha)
    return _normal(pairs * (pairs + 1) / 4, pairs * (pairs + 1) * (2 * pairs + 1) / 24, alpha)


@cache
def least_restarts(alpha: float) -> int:
    """The fewest restarts a side that carry an interval of confidence 1 - alpha."""
    return _first(lambda size: rank_sum_rank(size, size, alpha))


@cache
def least_pairs(alpha: float) -> int:
    """The fewest pairs of restarts that carry one."""
    return _first(lambda size: signed_rank_rank(size, alpha))


def _first(rank: Callable[[int], int]) -> int:
    return next(size for size in count(1) if rank(size))


def _exact(counts: Sequence[int], orders: int, alpha: float) -> int:
    within = 0
    for rank, number in enumerate(counts):
        within += number
        if 2 * within > alpha * orders:
            return rank
    return len(counts)


def _normal(mean: float, variance: float, alpha: float) -> int:
    """With the correction for continuity."""
    return max(0, floor(mean + 0.5 + NormalDist().inv_cdf(alpha / 2) * sqrt(variance)))

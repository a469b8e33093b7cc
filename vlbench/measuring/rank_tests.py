"""Exact rank tests: Mann and Whitney's U (rank sums of two samples) and Wilcoxon's W (signed ranks of pairs).

Under the null hypothesis all orders, and all signs, are equally likely; the exact distributions count them. They give
the ranks between which a confidence interval of a shift lies (M. Hollander and D. A. Wolfe, Nonparametric statistical
methods) and the score of a cut through a series. `vlbench compare` uses the first, `vlbench history` the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from math import comb, floor, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXACT_PAIRS = 4_000  # first * second; from 60 against 60 restarts on, the normal distribution is as good
EXACT_SIGNED = 60
LONGEST_SEGMENT = 64  # values: for a longer segment the table would be large, and no power is gained
FEWEST_PER_SIDE = 3  # values on either side of a cut


@cache
def rank_sum_counts(first: int, second: int) -> tuple[int, ...]:
    """How many orders of two samples give U = 0, 1, ... up to the middle of its range, first * second // 2.

    All orders together number comb(first + second, first). The counts are the coefficients of the Gaussian binomial,
    the product of (1 - q^(second+i)) / (1 - q^i).
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
    """How many choices of signs give W = 0, 1, ... up to the middle of its range; all together number 2^pairs."""
    counts = [1] + [0] * (pairs * (pairs + 1) // 4)
    for rank in range(1, pairs + 1):
        for total in range(len(counts) - 1, rank - 1, -1):
            counts[total] += counts[total - rank]
    return tuple(counts)


@cache
def rank_sum_interval_rank(first: int, second: int, alpha: float) -> int:
    """The largest k for which the k-th smallest and k-th largest difference of two samples enclose their shift with
    confidence 1 - alpha: 2 P[U < k] <= alpha. 0 if the samples are too small for any interval."""
    if first * second <= EXACT_PAIRS:
        return _exact_rank(rank_sum_counts(first, second), comb(first + second, first), alpha)
    return _normal_rank(first * second / 2, first * second * (first + second + 1) / 12, alpha)


@cache
def signed_rank_interval_rank(pairs: int, alpha: float) -> int:
    """The same for the Walsh averages of pairs: 2 P[W < k] <= alpha."""
    if pairs <= EXACT_SIGNED:
        return _exact_rank(signed_rank_counts(pairs), 2**pairs, alpha)
    return _normal_rank(pairs * (pairs + 1) / 4, pairs * (pairs + 1) * (2 * pairs + 1) / 24, alpha)


@cache
def least_restarts(alpha: float) -> int:
    """The fewest restarts per side for which there is an interval of confidence 1 - alpha."""
    return _least_size(lambda size: rank_sum_interval_rank(size, size, alpha))


@cache
def least_pairs(alpha: float) -> int:
    """The fewest pairs of restarts for which there is an interval of confidence 1 - alpha."""
    return _least_size(lambda size: signed_rank_interval_rank(size, alpha))


def _least_size(interval_rank: Callable[[int], int]) -> int:
    return next(size for size in count(1) if interval_rank(size))


def _exact_rank(counts: Sequence[int], orders: int, alpha: float) -> int:
    cumulative = 0
    for rank, number in enumerate(counts):
        cumulative += number
        if 2 * cumulative > alpha * orders:
            return rank
    return len(counts)


def _normal_rank(mean: float, variance: float, alpha: float) -> int:
    """From the normal approximation, with the correction for continuity."""
    return max(0, floor(mean + 0.5 + NormalDist().inv_cdf(alpha / 2) * sqrt(variance)))


def cut_scores(values_BL: NDArray[Any]) -> NDArray[np.float64]:
    """-ln p of each row's cuts, (B, L - 5): the first is before the fourth value, the last before the third last.

    p is the chance that the ranks of L exchangeable values, at most 64, differ as much between before and after the
    cut (Wilcoxon 1945; Mann and Whitney 1947). A pair of equal values counts half; a remaining half is dropped, so that
    equal values never make a score higher.
    """
    import numpy as np  # noqa: PLC0415  slow to import, and vlbench compare does without

    starts, scores = _score_table()
    length = values_BL.shape[1]
    before = np.arange(FEWEST_PER_SIDE, length - FEWEST_PER_SIDE + 1)
    after = length - before
    forward = np.argsort(np.argsort(values_BL, axis=1, kind="stable"), axis=1)
    backward = np.argsort(np.argsort(values_BL[:, ::-1], axis=1, kind="stable"), axis=1)[:, ::-1]
    doubled_ranks = forward + backward + 2  # from 1; of equal values their mean rank, twice
    sums = np.cumsum(doubled_ranks, axis=1)[:, before - 1]
    doubled_pairs = sums - before * (before + 1)  # pairs in which the earlier value is larger
    return scores[starts[before, after] + np.maximum(doubled_pairs, 2 * before * after - doubled_pairs) // 2]


def best_possible_score(length: int) -> float:
    """The highest score that any order of `length` values can reach: all before the middle are below the rest."""
    length = min(length, LONGEST_SEGMENT)
    return log(comb(length, length // 2) / 2)


@cache
def _score_table() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the scores for (a, b) values begin, and all scores, one for each number of pairs from 0 to a*b.

    All sizes are needed at once, so the orders with a given number of reversed pairs are counted by Mann and Whitney's
    recurrence on the side of the largest value rather than by `rank_sum_counts`.
    """
    import numpy as np  # noqa: PLC0415

    orders: dict[tuple[int, int], NDArray[np.float64]] = {}
    starts = np.zeros((LONGEST_SEGMENT + 1, LONGEST_SEGMENT + 1), dtype=np.int64)
    scores, start = [], 0
    for a in range(LONGEST_SEGMENT + 1):
        for b in range(LONGEST_SEGMENT + 1 - a):
            counts = np.zeros(a * b + 1)
            if a == 0 or b == 0:
                counts[0] = 1
            else:
                counts[: a * (b - 1) + 1] += orders[a, b - 1]
                counts[b:] += orders[a - 1, b]
            orders[a, b] = counts
            tail = np.cumsum(counts[::-1])[::-1] / comb(a + b, a)
            scores.append(-np.log(np.minimum(1, 2 * tail)))
            starts[a, b] = start
            start += len(counts)
    return starts, np.concatenate(scores)

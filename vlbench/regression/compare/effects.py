"""How much slower HEAD is than BASE: the ratio of their latencies with an exact interval, from restarts.

Both estimates work on logarithms, assume no distribution and withstand outliers. J. L. Hodges and E. L. Lehmann,
Estimates of location based on rank tests, 1963; the intervals invert the rank tests of Mann and Whitney (U, two
independent samples) and of Wilcoxon (W, signed ranks of pairs), see M. Hollander and D. A. Wolfe, Nonparametric
statistical methods. Under the null hypothesis all orders and signs are equally likely; the exact distributions count
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, count
from math import comb, exp, floor, log, sqrt
from statistics import NormalDist, median

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """HEAD's latency as a multiple of BASE's. `low` and `high` are None, no bound at all, where there are too few
    restarts for the confidence."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def real(self) -> bool:
        """Whether there is an interval, and it excludes that nothing changed."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)


Estimator = Callable[[Sequence[float], Sequence[float], float], Effect]


def independent(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift between two samples of restarts that have nothing to do with each other.

    The ratio is the median of the ratios of every restart of HEAD to every one of BASE. Raises ValueError where a
    sample is empty or a latency is not positive.
    """
    base, head = sorted(_logarithms(base_ms), reverse=True), sorted(_logarithms(head_ms))
    shifts = sorted(after - before for after in head for before in base)  # in runs, which are quick to merge
    return _effect(shifts, rank_sum_rank(len(base), len(head), 1 - confidence))


def paired(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift within pairs: restart i of BASE and of HEAD were measured in lockstep.

    The ratio is the median of the Walsh averages, the means of every two pairs and of each with itself. Raises
    ValueError where the samples differ in length, are empty, or a latency is not positive.
    """
    shifts = [after - before for before, after in zip(_logarithms(base_ms), _logarithms(head_ms), strict=True)]
    averages = sorted((one + other) / 2 for one, other in combinations_with_replacement(shifts, 2))
    return _effect(averages, signed_rank_rank(len(shifts), 1 - confidence))


def _logarithms(latencies_ms: Sequence[float]) -> list[float]:
    if not latencies_ms or min(latencies_ms) <= 0:
        raise ValueError("an effect needs latencies above zero on both sides")
    return [log(value) for value in latencies_ms]


def _effect(shifts: Sequence[float], rank: int) -> Effect:
    return Effect(
        ratio=exp(median(shifts)),
        low=exp(shifts[rank - 1]) if rank else None,
        high=exp(shifts[-rank]) if rank else None,
    )

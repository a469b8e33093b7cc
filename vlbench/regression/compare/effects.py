"""How much slower HEAD is than BASE: the ratio of their latencies with an exact interval, from restarts.

Both estimates are medians of ratios, assume no distribution and withstand outliers. J. L. Hodges and E. L. Lehmann,
Estimates of location based on rank tests, 1963; the intervals invert the tests of `vlbench.measuring.rank_tests`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations_with_replacement
from math import exp, log, prod, sqrt
from statistics import fmean, median, median_high, median_low
from sys import float_info

from vlbench.measuring.rank_tests import rank_sum_interval_rank, signed_rank_interval_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """HEAD's latency as a multiple of BASE's. `low` and `high` are None if there are too few restarts for an interval
    of the confidence."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def real(self) -> bool:
        """Whether there is an interval, and it excludes 1: an end is 1 only if that ratio is exactly 1."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)


LEAST_RATIO, MOST_RATIO = 1e-300, 1e300  # beyond them a ratio of two floats is 0 or infinite
Estimator = Callable[[Sequence[float], Sequence[float], float], Effect]


def independent(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift between two independent samples of restarts.

    The ratio is the median of the ratios of every restart of HEAD to every one of BASE. A ratio of two floats is 1 only
    if they are equal, which needs no logarithms. Raises ValueError if a sample is empty or a latency is not positive.
    """
    _check(base_ms)
    _check(head_ms)
    base, head = sorted(base_ms, reverse=True), sorted(head_ms)
    ratios = sorted([after / before for after in head for before in base])  # in runs, which are quick to merge
    if not LEAST_RATIO < ratios[0] <= ratios[-1] < MOST_RATIO:
        ratios = [min(max(ratio, LEAST_RATIO), MOST_RATIO) for ratio in ratios]
    rank = rank_sum_interval_rank(len(base), len(head), 1 - confidence)
    return Effect(
        ratio=sqrt(median_low(ratios)) * sqrt(median_high(ratios)) if len(ratios) % 2 == 0 else median(ratios),
        low=ratios[rank - 1] if rank else None,
        high=ratios[-rank] if rank else None,
    )


def paired(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift within pairs: restarts i of BASE and HEAD were measured in lockstep.

    The ratio is the median of the Walsh averages, the means of every two pairs and of each with itself. Raises
    ValueError if the samples differ in length, are empty, or a latency is not positive.
    """
    shifts = [after - before for before, after in zip(_logarithms(base_ms), _logarithms(head_ms), strict=True)]
    averages = sorted((first + second) / 2 for first, second in combinations_with_replacement(shifts, 2))
    ratios = zip(combinations_with_replacement(head_ms, 2), combinations_with_replacement(base_ms, 2), strict=True)
    return _effect(averages, signed_rank_interval_rank(len(shifts), 1 - confidence), ratios)


def _check(latencies_ms: Sequence[float]) -> None:
    if not latencies_ms or min(latencies_ms) <= 0:
        raise ValueError("an effect needs latencies above zero on both sides")


def _logarithms(latencies_ms: Sequence[float]) -> list[float]:
    _check(latencies_ms)
    return [log(value) for value in latencies_ms]


Ratio = tuple[tuple[float, ...], tuple[float, ...]]  # of the means of two pairs of latencies
CLOSE = 1e-9  # logarithms, their sums and their differences are wrong by less
LEAST_SHIFT = 4 * float_info.epsilon  # of which exp is not 1


def _effect(shifts: Sequence[float], rank: int, ratios: Iterable[Ratio]) -> Effect:
    """The effect of sorted logarithms of ratios. If one that it is read from is close to 0, signs are made exact."""
    if any(abs(shift) <= CLOSE for shift in (median(shifts), shifts[rank - 1], shifts[-rank])):
        shifts = sorted(map(_with_exact_sign, ratios))
    return Effect(
        ratio=exp(median(shifts)),
        low=exp(shifts[rank - 1]) if rank else None,
        high=exp(shifts[-rank]) if rank else None,
    )


def _with_exact_sign(ratio: Ratio) -> float:
    """The logarithm of the ratio of two geometric means, which is 0 only if they are equal as decimals."""
    head, base = (fmean(map(log, side)) for side in ratio)
    if abs(head - base) > CLOSE:
        return head - base
    exact_head, exact_base = (prod(Fraction(str(latency)) for latency in side) for side in ratio)
    if exact_head == exact_base:
        return 0.0
    return max(head - base, LEAST_SHIFT) if exact_head > exact_base else min(head - base, -LEAST_SHIFT)

"""How much slower HEAD is than BASE: the ratio of their latencies with an exact interval, from restarts.

Both estimates work on logarithms, assume no distribution and withstand outliers. J. L. Hodges and E. L. Lehmann,
Estimates of location based on rank tests, 1963; the intervals invert the tests of `vlbench.measure.rank_tests`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import exp, log
from statistics import median

from vlbench.measure.rank_tests import rank_sum_interval_rank, signed_rank_interval_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """HEAD's latency as a multiple of BASE's. `low` and `high` are None if there are too few restarts for an interval
    of the confidence."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def real(self) -> bool:
        """Whether there is an interval, and it excludes 1."""
        return self.low is not None and self.high is not None and (self.low > 1 or self.high < 1)


Estimator = Callable[[Sequence[float], Sequence[float], float], Effect]


def independent(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift between two independent samples of restarts.

    The ratio is the median of the ratios of every restart of HEAD to every one of BASE. Raises ValueError if a sample
    is empty or a latency is not positive.
    """
    base, head = sorted(_logarithms(base_ms), reverse=True), sorted(_logarithms(head_ms))
    shifts = sorted(after - before for after in head for before in base)  # in runs, which are quick to merge
    return _effect(shifts, rank_sum_interval_rank(len(base), len(head), 1 - confidence))


def paired(base_ms: Sequence[float], head_ms: Sequence[float], confidence: float) -> Effect:
    """The shift within pairs: restarts i of BASE and HEAD were measured in lockstep.

    The ratio is the median of the Walsh averages, the means of every two pairs and of each with itself. Raises
    ValueError if the samples differ in length, are empty, or a latency is not positive.
    """
    shifts = [after - before for before, after in zip(_logarithms(base_ms), _logarithms(head_ms), strict=True)]
    averages = sorted((first + second) / 2 for first, second in combinations_with_replacement(shifts, 2))
    return _effect(averages, signed_rank_interval_rank(len(shifts), 1 - confidence))


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

"""Summaries of latency over restarts: medians with intervals, and no percentile that too few samples cannot carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from statistics import median

from pydantic import BaseModel, ConfigDict

SAMPLES_FOR_P90 = 64
SAMPLES_FOR_P99 = 662
LEAST_RESTARTS = 6  # fewer carry no 95% interval of their median


class LatencySummary(BaseModel):
    """Latency of one thing in milliseconds, over restarts. What too few restarts or samples cannot tell is None.

    A process keeps the speed that it draws when it starts, so restarts are the replicates: `median` is the median of
    the restarts' own medians, which are `by_restart` in the order run, and `ci95` its interval. `n`, `p90` and `p99`
    are of the samples of all restarts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float
    ci95: tuple[float, float] | None
    p90: float | None
    p99: float | None
    n: int
    by_restart: tuple[float, ...]


def summarise(restarts: Sequence[Sequence[float]]) -> LatencySummary:
    """Summary of each restart's samples in milliseconds. Raises ValueError where there is none."""
    medians = [median(samples) for samples in restarts if samples]
    if not medians:
        raise ValueError("no samples to summarise")
    ordered = sorted(chain.from_iterable(restarts))
    return LatencySummary(
        median=median(medians),
        ci95=median_interval(sorted(medians)),
        p90=percentile(ordered, 0.90) if len(ordered) >= SAMPLES_FOR_P90 else None,
        p99=percentile(ordered, 0.99) if len(ordered) >= SAMPLES_FOR_P99 else None,
        n=len(ordered),
        by_restart=tuple(medians),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of the samples do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_interval(ordered: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median from order statistics, which assumes no distribution; None under six samples.

    Between the r-th smallest and the r-th largest of n samples the median lies with probability
    1 - 2 P[Binomial(n, 1/2) < r]; r is the largest for which that is at least `confidence`.
    """
    count = len(ordered)
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += _binomial_half(count, rank)
        if 2 * tail > 1 - confidence:
            break
        rank += 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def _binomial_half(count: int, successes: int) -> float:
    """P[Binomial(count, 1/2) = successes], through logarithms so that a large count does not overflow."""
    chosen = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    return math.exp(chosen - count * math.log(2))

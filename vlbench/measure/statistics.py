"""Summaries of latency samples: medians with intervals, and no percentile that too few samples cannot carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median

from pydantic import BaseModel, ConfigDict

SAMPLES_FOR_P90 = 64
SAMPLES_FOR_P99 = 662


class LatencySummary(BaseModel):
    """Latency of one thing in milliseconds. What too few samples cannot tell is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    median: float
    mean: float
    p90: float | None
    p99: float | None
    ci95: tuple[float, float] | None
    n: int
    samples: tuple[float, ...]


def summarise(samples: Sequence[float]) -> LatencySummary:
    """Summary of samples in milliseconds, kept in the order taken. Raises ValueError where there is none."""
    if not samples:
        raise ValueError("no samples to summarise")
    ordered = sorted(samples)
    return LatencySummary(
        median=median(ordered),
        mean=fmean(ordered),
        p90=percentile(ordered, 0.90) if len(ordered) >= SAMPLES_FOR_P90 else None,
        p99=percentile(ordered, 0.99) if len(ordered) >= SAMPLES_FOR_P99 else None,
        ci95=median_interval(ordered),
        n=len(ordered),
        samples=tuple(samples),
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

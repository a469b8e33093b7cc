"""Summarises latency over restarts: medians with intervals, whether the restarts are enough, drift and modes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from statistics import median

from pydantic.dataclasses import dataclass as record

from vlbench.frozen import COMPACT

SAMPLES_FOR_P90 = 64
SAMPLES_FOR_P99 = 662
LEAST_RESTARTS = 6  # fewer give no 95% interval of their median


@record(frozen=True, slots=True, kw_only=True, config=COMPACT)
class LatencySummary:
    """Latency in milliseconds over restarts. A figure for which there are too few restarts or samples is None.

    A process keeps the speed that it gets when it starts, so restarts are the replicates: `by_restart` has the median
    of each restart in the order run, `median` is the median of these, and `ci95` is its interval. `n`, `p90` and `p99`
    are of the samples of all restarts.
    """

    median: float
    ci95: tuple[float, float] | None
    p90: float | None
    p99: float | None
    n: int
    by_restart: tuple[float, ...]


def summarise(restarts: Sequence[Sequence[float]]) -> LatencySummary:
    """Summarises each restart's samples in milliseconds. Raises ValueError if there are none."""
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


ROUNDING = 1e-9  # relative; more than decimal fractions lose in binary, far less than is measured


def reaches(value: float, bound: float) -> bool:
    """Whether a value is at least a bound that is not negative, or short of it by rounding alone."""
    return value >= bound * (1 - ROUNDING)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` of the samples do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_interval(ordered: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval of the median from order statistics, without assuming a distribution; None under six samples.

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


FIRST_LOOK, LOOK_EVERY = 9, 3
CONFIDENCE = 0.98


def enough(by_restart_ms: Sequence[float], within: float) -> bool:
    """Whether measuring may stop: the interval of the median ends within `within` (0.02: 2%) of it on either side.

    A test after every restart would stop when the interval happens to be narrow, and such an interval contains the true
    median less often than stated. Therefore the test runs at nine restarts and at every third one after that, and
    requires a narrow interval of 98%, while the stated interval is of 95%.

    Simulation (tests/measuring/test_stopping.py has a short version): up to 60 restarts, 20,000 measurements of each
    distribution: processes at -17%, 0 or +17% (equally often, or 10/80/10), or at one of two speeds that are 4, 6 or
    17% apart, all with 0.8% noise; lognormal noise of 0.5 to 3%; Student's t with two degrees of freedom; 15% outliers
    to one side. The stated 95% interval contained the true median in 93.0 to 97.6% of measurements, for `within` of 1,
    2 and 5%. Stopping as soon as the stated interval is narrow, from six restarts on, gives 81.3 to 97.1%. With up to
    120 restarts, two equally likely speeds give 90.6% (75.8%); all others stay above 93%.
    """
    count = len(by_restart_ms)
    if count < FIRST_LOOK or (count - FIRST_LOOK) % LOOK_EVERY:
        return False
    interval = median_interval(sorted(by_restart_ms), CONFIDENCE)
    assert interval
    middle = median(by_restart_ms)
    return reaches(within * middle, max(middle - interval[0], interval[1] - middle))


# The gap between two modes, as a share of the median and in typical gaps between neighbouring values. Restarts at one
# speed differ by about 1%, so their gaps are far smaller; speeds were seen 17% apart.
_LEAST_GAP, _GAP_TO_TYPICAL = 0.03, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The trend of values in their order: `total` from first to last as a share of the median, and its p-value."""

    total: float
    p: float


def drift(values: Sequence[float]) -> Drift:
    """Mann and Kendall's two-sided test of a trend, with Theil and Sen's slope as its size.

    The p-value is the normal approximation with corrections for continuity and ties; for few values it is too large.
    Fewer than three values have no drift: p is 1. Sources: Mann (1945), Kendall (1975), Sen (1968).
    """
    count = len(values)
    if count < 3:
        return Drift(total=0.0, p=1.0)
    score = sum((later > earlier) - (later < earlier) for earlier, later in combinations(values, 2))
    ties = sum(_pairs_variance(size) for size in Counter(values).values())
    variance = (_pairs_variance(count) - ties) / 18
    z = max(0, abs(score) - 1) / math.sqrt(variance) if variance else 0.0
    slopes = [(values[later] - values[earlier]) / (later - earlier) for earlier, later in combinations(range(count), 2)]
    return Drift(total=median(slopes) * (count - 1) / median(values), p=math.erfc(z / math.sqrt(2)))


def _pairs_variance(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)


def modes(values: Sequence[float]) -> list[tuple[float, ...]]:
    """Groups of values, fastest first, separated by wide gaps. A single value is an outlier, not a mode.

    A gap is wide if it is at least 3% of the median and four times the median gap.
    """
    ordered = sorted(values)
    steps = [later - earlier for earlier, later in pairwise(ordered)]
    if not steps:
        return [tuple(ordered)] if ordered else []
    wide = max(_LEAST_GAP * median(ordered), _GAP_TO_TYPICAL * median(steps))
    groups: list[list[float]] = [[ordered[0]]]
    for value, step in zip(ordered[1:], steps, strict=True):
        if step >= wide:
            groups.append([])
        groups[-1].append(value)
    return [tuple(group) for group in groups if len(group) > 1]

"""Bootstrap intervals of means whose terms come in groups that are drawn together (Efron and Tibshirani, 1993)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from vlbench.tasks.items import Metric

RESAMPLES = 1000
VALUES_AT_ONCE = 2_000_000  # of all resamples in memory
LEAST_UNITS = 10  # fewer tell nothing of an interval


def mean_with_interval(name: str, values: Sequence[float], units: Sequence[Hashable]) -> Metric:
    """The mean with a 95% interval; values of one unit, as questions about one image, are resampled together.

    The draws are seeded: the same values give the same interval. No interval for fewer than ten units.
    """
    numbers = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    for value, unit in zip(values, units, strict=True):
        sums[numbers[unit]] += value
        counts[numbers[unit]] += 1
    mean = float(np.mean(values))
    return Metric(
        name=name, value=mean, ci95=_interval(sums, counts) if len(numbers) >= LEAST_UNITS else None, n=len(values)
    )


def _interval(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    if np.ptp(sums / counts) == 0:  # every resample has the same mean
        return float(sums[0] / counts[0]), float(sums[0] / counts[0])

    def mean(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    found = bootstrap(
        (sums, counts),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, VALUES_AT_ONCE // len(sums)),
        method="percentile",
        random_state=0,
    ).confidence_interval
    return float(found.low), float(found.high)

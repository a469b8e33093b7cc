"""Intervals of means of values from 0 to 1, such as accuracies, that hold near 0 and 1 and for few values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, t

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
# Degrees of freedom of a variance, times its excess kurtosis over units: few where few units hold most of the variance.
# Of normal values it is 2; simulations of rare failures that come in clusters ask for less.
FREEDOM = 0.75


def mean_interval(
    sums_SU: Floats, squares_S: Floats, counts_U: Floats, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The lower and the upper ends, (S,), of the intervals of S means of all values of U units.

    Clopper and Pearson's (1934) exact interval of a proportion, with the number of independent values that are worth
    as much as these (Korn and Graubard 1998). Values of different units are independent; those of one unit, such as
    questions about one image, may be alike. Values that are not 0 or 1 vary less than the interval assumes.

    Args:
        sums_SU: of the values of each unit.
        squares_S: the sum of the squares of all values.
        counts_U: how many values each unit has, the same in all S samples.
    """
    mean_S = np.clip(sums_SU.sum(axis=1) / counts_U.sum(), 0, 1)
    tail = (1 - confidence) / 2
    effective_S = _independent_values(sums_SU, squares_S, counts_U, mean_S, tail)
    hits_S = mean_S * effective_S
    low_S = np.where(mean_S > 0, beta.ppf(tail, hits_S, effective_S - hits_S + 1), 0.0)
    high_S = np.where(mean_S < 1, beta.ppf(1 - tail, hits_S + 1, effective_S - hits_S), 1.0)
    return low_S, high_S


DRAWS = 2_000


def bootstrap_interval(sums_U: Floats, counts_U: Floats) -> tuple[float, float]:
    """The interval of the mean of all values of U units: the middle 95% of means of as many units, drawn from these
    with replacement, from one seed."""
    if not sums_U.any():
        return 0.0, 0.0
    generator, units = np.random.default_rng(0), len(sums_U)
    means = []
    for _ in range(DRAWS):
        drawn = generator.integers(units, size=units)
        means.append(sums_U[drawn].sum() / counts_U[drawn].sum())
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _independent_values(sums_SU: Floats, squares_S: Floats, counts_U: Floats, mean_S: Floats, tail: float) -> Floats:
    """How many independent values are worth as much as all values: at most all, at least the units.

    The variance is the larger of two estimates: the jackknife's over units, and that of the correlation within units
    by an analysis of variance. A variance of few degrees of freedom makes intervals wider, as Student's t does.
    """
    total, units = counts_U.sum(), len(counts_U)
    if total == units:
        return np.full(len(sums_SU), total)
    equal_units = total**2 / (counts_U**2).sum()  # so many of equal size weigh as much (Kish 1965)
    residuals_SU = (sums_SU - mean_S[:, None] * counts_U) / (1 - counts_U / total)
    squared_S = (residuals_SU**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        jackknife_S = squared_S * (units - 1) / units / total**2 * (total - 1) / (mean_S * (1 - mean_S))
        of_units_S = (sums_SU**2 / counts_U).sum(axis=1)
        between_S = (of_units_S - total * mean_S**2) / (units - 1)
        within_S = (squares_S - of_units_S) / (total - units)
        weight = (total - total / equal_units) / (units - 1)
        correlation_S = (between_S - within_S) / (between_S + (weight - 1) * within_S)
        excess_S = (residuals_SU**4).sum(axis=1) / squared_S**2 - 1 / units
        freedom_S = np.where(excess_S > 0, FREEDOM / excess_S, np.inf)
    design_S = np.fmax(1.0, np.fmax(jackknife_S, 1 + (total / equal_units - 1) * correlation_S))
    design_S = np.where(mean_S * (1 - mean_S) > 0, design_S, total / equal_units)
    freedom_S = np.maximum(1, np.minimum(freedom_S, equal_units - 1))
    normal = t.ppf(tail, total - 1)
    effective_S = total / design_S * (normal / t.ppf(tail, freedom_S)) ** 2
    least = equal_units * (normal / t.ppf(tail, max(1, equal_units - 1))) ** 2
    result: Floats = np.maximum(effective_S, least)
    return result

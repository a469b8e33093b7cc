"""Bootstrap draws of a median, in an array that goes through any formula in one piece."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from vlbench.measure.statistics import LEAST_RESTARTS

DRAWS = 1_000
AT_ONCE = 1_000_000  # samples drawn together, 8 MB


def median_draws(by_restart: Sequence[float], key: str) -> np.ndarray:
    """The median itself, then `DRAWS` medians of restarts drawn with repetition; NaN where there are too few of them.

    Equal keys and lengths draw the same places, so that what one process measured stays together. (1 + DRAWS,) float64
    """
    values = np.asarray(by_restart, dtype=np.float64)
    count = len(values)
    drawn = np.full(1 + DRAWS, np.nan)
    drawn[0] = np.median(values)
    if count < LEAST_RESTARTS:
        return drawn
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    step = max(1, AT_ONCE // count)
    for start in range(1, 1 + DRAWS, step):
        stop = min(start + step, 1 + DRAWS)
        places = generator.integers(count, size=(stop - start, count))
        drawn[start:stop] = np.median(values[places], axis=1)
    return drawn


def interval(drawn: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of the draws; None where there are none."""
    if np.isnan(drawn).any():
        return None
    low, high = np.percentile(drawn[1:], [2.5, 97.5])
    return float(low), float(high)

"""Patterns over the restarts of a cell: a drift in the order run, and several modes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

# A step between neighbours in size that parts two modes: as a share of the median, and in typical steps. Restarts of
# one speed state differ by about 1%, so that neighbours lie far nearer; states were seen 17% apart.
_LEAST_GAP, _GAP_TO_TYPICAL = 0.03, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How values moved in the order given: `total` from first to last as a share of the median, and its p-value."""

    total: float
    p: float


def drift(values: Sequence[float]) -> Drift:
    """Mann-Kendall's test of a trend, two-sided, with Theil and Sen's slope for its size.

    The p-value is the normal approximation with corrections for continuity and ties; for few values it is too large.
    Sources: Mann (1945), Kendall (1975), Sen (1968). Under three values there is no drift: p is 1.
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
    """Groups of values, fastest first, that wide steps part; a lone value is an outlier and no mode.

    A step is wide where it is at least 3% of the median and four times the typical step. One group, perhaps the whole,
    is one mode.
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

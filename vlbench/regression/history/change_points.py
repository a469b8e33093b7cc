"""Where a series of latencies changed level: seeded binary segmentation with an exact rank test.

Segments of many lengths and positions are tried (Kovács, Bühlmann, Li and Munk, "Seeded binary segmentation",
Biometrika 2023), every cut of each is scored by Wilcoxon's exact two-sided rank-sum test, and the best score of all
is compared with what random orders of as many values reach. That null distribution is the same for any noise, so the
rate of false alarms is as stated wherever the runs of an unchanged model are exchangeable, and a few outliers do no
harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlbench.measuring.rank_tests import FEWEST_PER_SIDE, LONGEST_SEGMENT, best_possible_score, cut_scores
from vlbench.measuring.statistics import reaches

SHORTEST = 10  # of fewer values no order is rarer than 1 in 100
WELL_KNOWN = 0.01  # the rarest share that a few thousand random orders estimate well


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """`index` is the first value of the new level; `before` and `after` are medians of the levels it stands between."""

    index: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """0.05 for 5% more."""
        return self.after / self.before - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Change points, or a drift from the first to the last value (0.05 for 5% more), or neither."""

    points: tuple[ChangePoint, ...] = ()
    drift: float | None = None


def find_changes(values: Sequence[float], *, threshold: float, significance: float) -> Changes:
    """Changes by at least `threshold` (0.05 for 5%) of positive values in their order.

    Exchangeable values show a change in at most a share `significance` of series. Series under `fewest_values` long
    show none. Where a straight line fits better than levels do, it is a drift.
    """
    if len(values) < SHORTEST:
        return Changes()
    logs = np.log(np.asarray(values, dtype=float))
    least = math.log1p(threshold)
    cuts = _settled(logs, _split(logs, 0, len(logs), significance))
    while cuts:
        heights = np.abs(np.diff([np.median(level) for level in np.split(logs, cuts)]))
        lowest = int(heights.argmin())
        if reaches(heights[lowest], least):
            break
        del cuts[lowest]
        cuts = _settled(logs, cuts)
    if cuts and (drift := _drift(logs, cuts)) is not None and reaches(abs(drift), least):
        return Changes(drift=math.expm1(drift))
    medians = [float(np.median(level)) for level in np.split(np.asarray(values, dtype=float), cuts)]
    return Changes(
        points=tuple(
            ChangePoint(index=cut, before=before, after=after)
            for cut, before, after in zip(cuts, medians, medians[1:], strict=False)
        )
    )


@cache
def fewest_values(significance: float) -> int:
    """The smallest number of values of which some order is rare enough to be called a change."""
    count = SHORTEST
    while best_possible_score(count) <= critical_score(count, significance):
        count += 1
    return count


def _split(logs: NDArray[np.float64], start: int, end: int, significance: float) -> list[int]:
    count = end - start
    if count < SHORTEST:
        return []
    scores, cuts = best_cuts(logs[None, start:end])
    if scores[0] <= critical_score(count, significance):
        return []
    cut = start + int(cuts[0])
    return [*_split(logs, start, cut, significance), cut, *_split(logs, cut, end, significance)]


def _settled(logs: NDArray[np.float64], cuts: list[int]) -> list[int]:
    """Each cut where the two levels between its neighbours fit best, by absolute errors.

    Ranks show that there is a change, but cannot distinguish a run of the new level from the lowest of the old one.
    """
    cuts = list(cuts)
    for index, cut in enumerate(cuts):
        start = max(cuts[index - 1] if index else 0, cut - LONGEST_SEGMENT // 2)
        end = min(cuts[index + 1] if index + 1 < len(cuts) else len(logs), cut + LONGEST_SEGMENT // 2)
        if end - start >= 2 * FEWEST_PER_SIDE:
            near = logs[start:end]
            candidates = range(FEWEST_PER_SIDE, len(near) - FEWEST_PER_SIDE + 1)
            errors = [_distances_from_levels(near, [candidate]).sum() for candidate in candidates]
            cuts[index] = start + FEWEST_PER_SIDE + int(np.argmin(errors))
    return cuts


def best_cuts(values_BN: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The highest score of each row (B,) over all its segments, and its cut (B,)."""
    rows = np.arange(len(values_BN))
    best, cuts = np.full(len(values_BN), -1.0), np.zeros(len(values_BN), dtype=np.int64)
    for start, length in seeded_segments(values_BN.shape[1]):
        scores = cut_scores(values_BN[:, start : start + length])
        positions = scores.argmax(axis=1)
        highest = scores[rows, positions]
        higher = highest > best
        best[higher], cuts[higher] = highest[higher], start + FEWEST_PER_SIDE + positions[higher]
    return best, cuts


@cache
def seeded_segments(count: int) -> tuple[tuple[int, int], ...]:
    """(start, length) of the seeded intervals: lengths fall by the root of 2, and neighbours overlap by half."""
    segments, length = set(), float(count)
    while (whole := math.ceil(length)) >= SHORTEST:
        if whole <= LONGEST_SEGMENT:
            steps = max(1, 2 * math.ceil(count / length) - 2)
            segments |= {(round(step * (count - whole) / steps), whole) for step in range(steps + 1)}
        length /= math.sqrt(2)
    return tuple(sorted(segments))


@cache
def critical_score(count: int, significance: float) -> float:
    """The score that at most this share of random orders of `count` values exceeds.

    A cut reaches the score s by chance with probability exp(-s) at the most, so beyond what the random orders resolve
    the share falls as fast or faster. Two standard errors allow for the chance in the random orders.
    """
    known = max(significance, WELL_KNOWN)
    draws = max(2_000, min(10_000, 1_000_000 // count))
    orders = np.random.default_rng(count).permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    reached = np.sort(best_cuts(orders)[0])
    above = int(known * draws - 2 * math.sqrt(known * draws))
    return float(reached[draws - 1 - above]) + math.log(known / significance)


def _drift(logs: NDArray[np.float64], cuts: list[int]) -> float | None:
    """The total rise of Theil and Sen's line if it fits better than the levels between the cuts; else None.

    The fits are compared by Schwarz's criterion, with errors of Laplace's distribution.
    """
    count, (first, second) = len(logs), np.triu_indices(len(logs), 1)
    slope = float(np.median((logs[second] - logs[first]) / (second - first)))
    beside_line = logs - slope * np.arange(count)
    beside_line = np.abs(beside_line - np.median(beside_line))
    line, levels = (
        count * math.log(errors.mean() + 1e-9) + parameters / 2 * math.log(count)
        for errors, parameters in ((beside_line, 2), (_distances_from_levels(logs, cuts), 2 * len(cuts) + 1))
    )
    return slope * (count - 1) if line < levels else None


def _distances_from_levels(logs: NDArray[np.float64], cuts: list[int]) -> NDArray[np.float64]:
    """The distance of each value from the median of its level."""
    return np.concatenate([np.abs(level - np.median(level)) for level in np.split(logs, cuts)])

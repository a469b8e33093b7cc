"""Where a series of latencies changed for good: seeded binary segmentation with an exact rank test.

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

LONGEST = 64  # runs in a stretch: of a longer one the table would be large, and no power is gained
FEWEST = 3  # runs on either side of a cut


def cut_scores(values_BL: NDArray[Any]) -> NDArray[np.float64]:
    """-ln p of each row's cuts (B, L - 5): the first is before the fourth value, the last before the third last.

    p is the chance that the ranks of L exchangeable values, at most 64, differ as much between before and after the
    cut (Wilcoxon 1945; Mann and Whitney 1947). A pair of equal values counts half; what is left of it then is dropped,
    so that equal values never make a score higher.
    """
    starts, scores = _table()
    length = values_BL.shape[1]
    before = np.arange(FEWEST, length - FEWEST + 1)
    after = length - before
    sums = np.cumsum(_doubled_ranks(values_BL), axis=1)[:, before - 1]
    doubled_pairs = sums - before * (before + 1)  # in which the earlier is larger
    return scores[starts[before, after] + np.maximum(doubled_pairs, 2 * before * after - doubled_pairs) // 2]


def best_possible(count: int) -> float:
    """The highest score that any order of `count` values can reach: all that is before the middle below the rest."""
    count = min(count, LONGEST)
    return math.log(math.comb(count, count // 2) / 2)


def _doubled_ranks(values_BL: NDArray[Any]) -> NDArray[np.int64]:
    """Twice the rank, from 1, and for equal values twice their mean rank."""
    forward = np.argsort(np.argsort(values_BL, axis=1, kind="stable"), axis=1)
    backward = np.argsort(np.argsort(values_BL[:, ::-1], axis=1, kind="stable"), axis=1)[:, ::-1]
    return forward + backward + 2


@cache
def _table() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the scores for (a, b) values begin, and all scores, one for each number of pairs from 0 to a*b.

    The number of orders of a + b values in which a given number of pairs is reversed follows from which side the
    largest value is on (Mann and Whitney's recurrence).
    """
    orders: dict[tuple[int, int], NDArray[np.float64]] = {}
    starts = np.zeros((LONGEST + 1, LONGEST + 1), dtype=np.int64)
    scores, place = [], 0
    for a in range(LONGEST + 1):
        for b in range(LONGEST + 1 - a):
            counts = np.zeros(a * b + 1)
            if a == 0 or b == 0:
                counts[0] = 1
            else:
                counts[: a * (b - 1) + 1] += orders[a, b - 1]
                counts[b:] += orders[a - 1, b]
            orders[a, b] = counts
            tail = np.cumsum(counts[::-1])[::-1] / math.comb(a + b, a)
            scores.append(-np.log(np.minimum(1, 2 * tail)))
            starts[a, b] = place
            place += len(counts)
    return starts, np.concatenate(scores)


SHORTEST = 10  # in fewer values no order is rarer than 1 in 100
WELL_KNOWN = 0.01  # the rarest share that a few thousand random orders tell well


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
    """What a series did: change points, or a drift from its first to its last value (0.05 for 5% more), or neither."""

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
        if heights[lowest] >= least:
            break
        del cuts[lowest]
        cuts = _settled(logs, cuts)
    if cuts and (drift := _drift(logs, cuts)) is not None and abs(drift) >= least:
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
    """How many values it takes until any order of them is rare enough to be called a change."""
    count = SHORTEST
    while best_possible(count) <= _critical_score(count, significance):
        count += 1
    return count


def _split(logs: NDArray[np.float64], start: int, end: int, significance: float) -> list[int]:
    count = end - start
    if count < SHORTEST:
        return []
    scores, cuts = _best_cuts(logs[None, start:end])
    if scores[0] <= _critical_score(count, significance):
        return []
    cut = start + int(cuts[0])
    return [*_split(logs, start, cut, significance), cut, *_split(logs, cut, end, significance)]


def _settled(logs: NDArray[np.float64], cuts: list[int]) -> list[int]:
    """Each cut where the two levels between its neighbours fit best, by absolute errors.

    Ranks find that there is a change, but do not tell a run of the new level from the lowest of the old one.
    """
    cuts = list(cuts)
    for place, cut in enumerate(cuts):
        start = max(cuts[place - 1] if place else 0, cut - LONGEST // 2)
        end = min(cuts[place + 1] if place + 1 < len(cuts) else len(logs), cut + LONGEST // 2)
        if end - start >= 2 * FEWEST:
            near = logs[start:end]
            errors = [_beside_levels(near, [middle]).sum() for middle in range(FEWEST, len(near) - FEWEST + 1)]
            cuts[place] = start + FEWEST + int(np.argmin(errors))
    return cuts


def _best_cuts(values_BN: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The highest score of each row (B,) over all its stretches, and its cut (B,)."""
    rows = np.arange(len(values_BN))
    best, cuts = np.full(len(values_BN), -1.0), np.zeros(len(values_BN), dtype=np.int64)
    for start, length in _stretches(values_BN.shape[1]):
        scores = cut_scores(values_BN[:, start : start + length])
        places = scores.argmax(axis=1)
        found = scores[rows, places]
        higher = found > best
        best[higher], cuts[higher] = found[higher], start + FEWEST + places[higher]
    return best, cuts


@cache
def _stretches(count: int) -> tuple[tuple[int, int], ...]:
    """(start, length) of the seeded intervals: lengths fall by the root of 2, and neighbours overlap by half."""
    found, length = set(), float(count)
    while (whole := math.ceil(length)) >= SHORTEST:
        if whole <= LONGEST:
            steps = max(1, 2 * math.ceil(count / length) - 2)
            found |= {(round(step * (count - whole) / steps), whole) for step in range(steps + 1)}
        length /= math.sqrt(2)
    return tuple(sorted(found))


@cache
def _critical_score(count: int, significance: float) -> float:
    """What at most this share of random orders of `count` values exceeds.

    A cut reaches the score s by chance with probability exp(-s) at the most, so beyond what the random orders tell
    the share falls as fast or faster. Their own chance is allowed for with two standard errors.
    """
    known = max(significance, WELL_KNOWN)
    draws = max(2_000, min(10_000, 1_000_000 // count))
    orders = np.random.default_rng(count).permuted(np.tile(np.arange(count), (draws, 1)), axis=1)
    reached = np.sort(_best_cuts(orders)[0])
    above = int(known * draws - 2 * math.sqrt(known * draws))
    return float(reached[draws - 1 - above]) + math.log(known / significance)


def _drift(logs: NDArray[np.float64], cuts: list[int]) -> float | None:
    """How far Theil and Sen's line rises in all, where it fits better than the levels between the cuts; else None.

    Better is by Schwarz's criterion, with errors of Laplace's distribution.
    """
    count, (first, second) = len(logs), np.triu_indices(len(logs), 1)
    slope = float(np.median((logs[second] - logs[first]) / (second - first)))
    beside_line = logs - slope * np.arange(count)
    beside_line = np.abs(beside_line - np.median(beside_line))
    line, levels = (
        count * math.log(errors.mean() + 1e-9) + parameters / 2 * math.log(count)
        for errors, parameters in ((beside_line, 2), (_beside_levels(logs, cuts), 2 * len(cuts) + 1))
    )
    return slope * (count - 1) if line < levels else None


def _beside_levels(logs: NDArray[np.float64], cuts: list[int]) -> NDArray[np.float64]:
    """How far each value is from the median of its level."""
    return np.concatenate([np.abs(level - np.median(level)) for level in np.split(logs, cuts)])

"""Exact two-sided Wilcoxon rank-sum tests at every cut of short stretches, many series at once."""

from __future__ import annotations

import math
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

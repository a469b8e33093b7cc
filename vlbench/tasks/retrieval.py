"""Recall of image and text retrieval: how often what belongs together is among the first K (Karpathy and Fei-Fei 2015).

Equal scores are counted fairly: as the expected recall over all orders of what ties. A model that gives every pair the
same score has the recall of chance, not 100%.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

RANKS = (1, 5, 10)

Floats = NDArray[np.float64]
Scores = NDArray[np.floating]


def text_to_image(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The chance that a text's image is among the first K, (T, len(ranks))."""
    own_T = _own_scores(scores_TI, image_of_text)
    greater_T = (scores_TI > own_T[:, None]).sum(1)
    equal_T = (scores_TI == own_T[:, None]).sum(1)
    return np.stack([np.clip((rank - greater_T) / equal_T, 0, 1) for rank in ranks], axis=1)


def image_to_text(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The chance that any of an image's texts is among the first K, (I, len(ranks)); nan for an image without texts."""
    owner_T, own_T = np.asarray(image_of_text), _own_scores(scores_TI, image_of_text)
    images = scores_TI.shape[1]
    best_I = np.full(images, -np.inf, dtype=scores_TI.dtype)
    np.maximum.at(best_I, owner_T, own_T)
    greater_I = (scores_TI > best_I).sum(0)  # none of them an own text
    own_I = np.bincount(owner_T[own_T == best_I[owner_T]], minlength=images)
    other_I = (scores_TI == best_I).sum(0) - own_I
    found = np.stack([1 - _all_missed(own_I, other_I, rank - greater_I) for rank in ranks], axis=1)
    found[np.bincount(owner_T, minlength=images) == 0] = np.nan
    return found


def _own_scores(scores_TI: Scores, image_of_text: Sequence[int]) -> Scores:
    return scores_TI[np.arange(len(scores_TI)), np.asarray(image_of_text)]


def _all_missed(own: NDArray[np.int64], other: NDArray[np.int64], places: NDArray[np.int64]) -> Floats:
    """The chance that none of `own` stands in the first `places` of a random order of both kinds."""
    places = np.maximum(places, 0)
    possible = places <= other
    taken = np.where(possible, places, 0)
    # C(other, places) / C(own + other, places)
    log = gammaln(other + 1) - gammaln(other - taken + 1) - gammaln(own + other + 1) + gammaln(own + other - taken + 1)
    return np.where(possible, np.where(taken == 0, 1.0, np.exp(log)), 0.0)

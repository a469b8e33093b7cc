"""Accuracy and consistency of NLVR and NLVR2 (Suhr et al. 2017, 2019), as the official scripts have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vlbench.tasks.items import Item


def correct(items: Sequence[Item], predictions: Mapping[str, str]) -> list[bool]:
    """Whether each item's prediction is its label, whatever its case."""
    return [predictions[item.identifier].lower() == item.answers[0].lower() for item in items]


def consistent(items: Sequence[Item], predictions: Mapping[str, str]) -> dict[str, bool]:
    """By statement, whether every one of its items is right."""
    found: dict[str, bool] = {}
    for item, right in zip(items, correct(items, predictions), strict=True):
        found[item.group] = found.get(item.group, True) and right
    return found


def balanced(items: Sequence[Item]) -> list[Item]:
    """The items of image pairs that come with both labels, so that the images alone tell nothing of the label."""
    labels = _labels_by_pair(items)
    return [item for item in items if item.pair and len(set(labels[item.pair])) > 1]


def unbalanced(items: Sequence[Item]) -> list[Item]:
    """The items of image pairs that come more than once, always with the same label."""
    labels = _labels_by_pair(items)
    return [item for item in items if item.pair and len(labels[item.pair]) > 1 and len(set(labels[item.pair])) == 1]


def _labels_by_pair(items: Sequence[Item]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = defaultdict(list)
    for item in items:
        labels[item.pair].append(item.answers[0].lower())
    return labels

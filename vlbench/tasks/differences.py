"""The difference of two models' scores for the same items, with its interval: items that both answer alike add no noise
to it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from vlbench.specs.heads import TaskKind
from vlbench.tasks.intervals import bootstrap_interval
from vlbench.tasks.items import Gallery, Item, PairedDifference
from vlbench.tasks.kinds import RULES
from vlbench.tasks.metrics import LEAST_UNITS, Scores, text_to_image


def difference_of_items(
    kind: TaskKind, items: Sequence[Item], predictions: Mapping[str, str], reference: Mapping[str, str]
) -> PairedDifference:
    """Of accuracy: predictions minus reference."""
    score = RULES[kind].score
    pairs = [(predictions[item.identifier], reference[item.identifier]) for item in items]
    values = [
        score(mine, item.answers) - score(theirs, item.answers)
        for item, (mine, theirs) in zip(items, pairs, strict=True)
    ]
    return paired_difference(
        values, [item.unit for item in items], changed=sum(mine != theirs for mine, theirs in pairs)
    )


def difference_of_gallery(gallery: Gallery, scores_TI: Scores, reference_TI: Scores) -> PairedDifference:
    """Of image R@1, by text."""
    index = gallery.image_of_text
    values = text_to_image(scores_TI, index)[:, 0] - text_to_image(reference_TI, index)[:, 0]
    changed = int((scores_TI.argmax(axis=1) != reference_TI.argmax(axis=1)).sum())
    return paired_difference(values.tolist(), index, changed=changed)


def paired_difference(values: Sequence[float], units: Sequence[Hashable], *, changed: int) -> PairedDifference:
    """The mean of differences, of which those of one unit may be alike."""
    index = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    unit_of_value = [index[unit] for unit in units]
    sums = np.bincount(unit_of_value, weights=values).astype(np.float64)
    counts = np.bincount(unit_of_value).astype(np.float64)
    ci95 = bootstrap_interval(sums, counts) if len(counts) >= LEAST_UNITS else None
    return PairedDifference(value=math.fsum(values) / len(values), ci95=ci95, changed=changed, n=len(values))

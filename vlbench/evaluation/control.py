"""The control with other images: what a model still gets right when it sees the wrong ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from vlbench.tasks.items import Item

Images = tuple[Path, ...]


def shuffled_images(items: Sequence[Item], *, seed: int = 0) -> dict[Images, Images] | None:
    """For each image, or pair of images, another one of these; each is used as often as before.

    No item's new image shares a unit with it: another order of the same boxes or another question's view of the same
    scene would be no wrong image. None where the items are too few or too alike for that.
    """
    units: dict[Images, set[str]] = {}
    for item in items:
        units.setdefault(item.images, set()).add(item.unit)
    order = sorted({unit for own in units.values() for unit in own})
    random.Random(seed).shuffle(order)
    place = {unit: number for number, unit in enumerate(order)}
    images = sorted(units, key=lambda one: (min(place[unit] for unit in units[one]), one))
    for step in _steps(len(images)):
        if all(units[one].isdisjoint(units[images[(at + step) % len(images)]]) for at, one in enumerate(images)):
            return {one: images[(at + step) % len(images)] for at, one in enumerate(images)}
    return None


def _steps(count: int) -> list[int]:
    """How far to turn the ring: by half, where those of one unit lie furthest apart, then by more and by less."""
    return sorted(range(1, count), key=lambda step: abs(2 * step - count))[:100]


def shuffled_columns(count: int, *, seed: int = 0) -> list[int] | None:
    """For each image of a gallery another one's place; None for fewer than two."""
    if count < 2:
        return None
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [other for _, other in sorted(zip(order, order[1:] + order[:1], strict=True))]

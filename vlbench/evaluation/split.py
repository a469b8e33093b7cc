"""A split of a data set as all models of one command see it, and the control with shuffled images."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vlbench.errors import InputError
from vlbench.evaluation.answers import NO_FILES, FilesByModel, read_answer_set
from vlbench.evaluation.images import reader_of, region_channels
from vlbench.evaluation.task_head import TaskHead, head_for
from vlbench.specs import AnySpec
from vlbench.tasks.features import open_regions
from vlbench.tasks.items import Gallery, Item, check_images
from vlbench.tasks.region_features import RegionSource
from vlbench.tasks.registry import Task
from vlbench.tasks.shapes.scenes import WORLD


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What all models of one command have in common.

    Attributes:
        limit: only so many items, or images of a gallery, from the first on.
        features: a file or folder of regions, for the models that see regions.
        control: whether each is asked again with other images.
    """

    task: Task
    data: Path
    split: str
    limit: int | None = None
    batch: int = 16
    workers: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    features: Path | None = None
    answers: FilesByModel = NO_FILES
    vocabulary: FilesByModel = NO_FILES
    control: bool = True


class Split:
    """The items or the gallery of a split, read and checked once for all models.

    Raises InputError where a file or an image is missing or damaged.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        task, self.settings = settings.task, settings
        self.gallery: Gallery | None = None
        self.items: list[Item] = []
        if task.has_gallery:
            whole = task.gallery(settings.data, settings.split)
            self.of = len(whole.images)
            self.gallery = _first_images(whole, settings.limit)
            paths = list(self.gallery.images)
        else:
            everything = task.items(settings.data, settings.split)
            self.of = len(everything)
            self.items = everything[: settings.limit]
            paths = [path for item in self.items for path in item.images]
        self.regions: RegionSource | None = open_regions(settings.features) if settings.features else None
        self.paths = paths
        given = settings.answers
        self.answers = {name: read_answer_set(path) for name, path in given.named.items()}
        self.known_answers = read_answer_set(given.otherwise) if given.otherwise else task.answers(settings.data)

    def head_for(self, spec: AnySpec) -> TaskHead:
        """The model's head for the task. Raises InputError if the model has none."""
        return head_for(spec, self.settings.task, answers=self.answers.get(spec.name), known=self.known_answers)

    def check_for(self, spec: AnySpec) -> None:
        """Raises InputError where something that this model sees is missing."""
        sees = self.sees_features(spec)
        reader_of(spec, self.regions if sees else None)
        if sees:
            assert self.regions
            missing = [path.stem for path in dict.fromkeys(self.paths) if path.stem not in self.regions]
            if missing:
                more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
                raise InputError(
                    f"{self.settings.features}: no regions of {missing[0]}{more}; extract them, or --limit"
                )
        else:
            check_images(self.paths)

    def sees_features(self, spec: AnySpec) -> bool:
        return self.regions is not None and bool(region_channels(spec))

    @property
    def public(self) -> bool:
        """Whether what is right is known."""
        return all(item.answers for item in self.items)

    @cached_property
    def training(self) -> list[Item]:
        """Where the baseline that reads the text alone learns."""
        return self.settings.task.training_items(self.settings.data, self.settings.split)

    @cached_property
    def digest(self) -> str:
        """Of everything in it that a prediction depends on."""
        content: list[Any] = (
            [(item.identifier, item.text, list(map(str, item.images)), item.answers) for item in self.items]
            if self.gallery is None
            else [list(map(str, self.gallery.images)), self.gallery.texts]
        )
        if self.settings.task.generated:  # no file's name or time says that an image has changed
            content = ["world", WORLD, content]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _first_images(whole: Gallery, limit: int | None) -> Gallery:
    if limit is None:
        return whole
    kept = [place for place, owner in enumerate(whole.image_of_text) if owner < limit]
    return Gallery(
        images=whole.images[:limit],
        texts=tuple(whole.texts[place] for place in kept),
        image_of_text=tuple(whole.image_of_text[place] for place in kept),
    )


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

"""A split of a data set, read once for all models of a command; and shuffled images, as a control."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from vlbench.errors import InputError
from vlbench.evaluation.answers import NO_FILES, FilesByModel, read_answer_set
from vlbench.evaluation.images import image_reader_for
from vlbench.evaluation.task_head import TaskHead, head_for
from vlbench.measuring.records import Precision
from vlbench.runner.backends import EAGER
from vlbench.runner.execution import is_reference
from vlbench.specs import AnySpec
from vlbench.tasks.features import open_regions
from vlbench.tasks.items import Gallery, Item, and_more, check_images
from vlbench.tasks.region_features import RegionSource
from vlbench.tasks.registry import Task
from vlbench.tasks.shapes.scenes import WORLD


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """What all models of one command have in common.

    Attributes:
        limit: evaluate only this many items, or images of a gallery, from the first on.
        batch: items in one forward pass.
        workers: data-loading processes; 0 loads in the main process.
        features: a file or folder of precomputed regions, for the models that read regions.
        answers: of the classes of a head.
        control: whether to evaluate with shuffled images, too.
        backend: what executes the models, in which precision.
    """

    task: Task
    data: Path
    split: str
    limit: int | None = None
    batch: int = 16
    workers: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "fp32"
    backend: str = EAGER
    features: Path | None = None
    answers: FilesByModel = NO_FILES
    vocabulary: FilesByModel = NO_FILES
    control: bool = True


class Split:
    """The items or the gallery of a split, read and checked once for all models.

    Raises InputError if a file is missing or damaged.
    """

    def __init__(self, settings: EvaluationSettings) -> None:
        task, self.settings = settings.task, settings
        self.gallery: Gallery | None = None
        self.items: list[Item] = []
        if task.has_gallery:
            gallery = task.gallery(settings.data, settings.split)
            self.items_total = len(gallery.images)
            self.gallery = _first_images(gallery, settings.limit)
            self.paths = list(self.gallery.images)
        else:
            items = task.items(settings.data, settings.split)
            self.items_total = len(items)
            self.items = items[: settings.limit]
            self.paths = [path for item in self.items for path in item.images]
        self.regions: RegionSource | None = open_regions(settings.features) if settings.features else None
        files = settings.answers
        self.answers = {name: read_answer_set(path) for name, path in files.by_model.items()}
        self.known_answers = read_answer_set(files.default) if files.default else task.answers(settings.data)

    @property
    def is_reference(self) -> bool:
        """Whether models are executed as those to which others are compared: in eager PyTorch and fp32."""
        return is_reference(self.settings.backend, self.settings.precision)

    @property
    def setting(self) -> str:
        """`, onnxruntime int8`; empty for the reference."""
        return "" if self.is_reference else f", {self.settings.backend} {self.settings.precision}"

    def under(self, **settings: Any) -> Split:
        """The same split with other settings; all that was read is shared."""
        changed = copy.copy(self)
        changed.settings = replace(self.settings, **settings)
        return changed

    def head_for(self, spec: AnySpec) -> TaskHead:
        """The model's head for the task. Raises InputError if the model has none."""
        return head_for(spec, self.settings.task, answers=self.answers.get(spec.name), known=self.known_answers)

    def check_for(self, spec: AnySpec, paths: Sequence[Path] | None = None) -> None:
        """Raises InputError if an image, or its regions, is missing for this model.

        Args:
            paths: of the images; by default all of the split.
        """
        reads_features, paths = self.reads_features(spec), self.paths if paths is None else paths
        image_reader_for(spec, self.regions if reads_features else None)
        if reads_features:
            assert self.regions
            missing = [path.stem for path in dict.fromkeys(paths) if path.stem not in self.regions]
            if missing:
                raise InputError(
                    f"{self.settings.features}: no regions of {missing[0]}{and_more(missing)}; extract them, or --limit"
                )
        else:
            check_images(paths)

    def reads_features(self, spec: AnySpec) -> bool:
        """Whether the model reads the precomputed regions, rather than pixels."""
        return self.regions is not None and bool(spec.region_channels)

    @property
    def public(self) -> bool:
        """Whether the correct answers are public."""
        return all(item.answers for item in self.items)

    @cached_property
    def training(self) -> list[Item]:
        """The items from which the text-only baseline learns."""
        return self.settings.task.training_items(self.settings.data, self.settings.split)

    def calibration_items(self, spec: AnySpec, count: int) -> list[Item]:
        """The first items of the training split if their images are there for this model, else of the split itself."""
        items = self.training[:count]
        with suppress(InputError):
            self.check_for(spec, [path for item in items for path in item.images])
            return items or self.items[:count]
        return self.items[:count]

    def calibration_gallery(self, spec: AnySpec, count: int) -> Gallery:
        """The same of a gallery: its first images with their texts."""
        settings, gallery = self.settings, self.gallery
        assert gallery
        with suppress(InputError):
            if settings.split != settings.task.training:
                training = _first_images(settings.task.gallery(settings.data, settings.task.training), count)
                self.check_for(spec, training.images)
                return training
        return _first_images(gallery, count)

    @cached_property
    def digest(self) -> str:
        """A hash of everything in the split that a prediction depends on."""
        content: list[Any] = (
            [(item.identifier, item.text, list(map(str, item.images)), item.answers) for item in self.items]
            if self.gallery is None
            else [list(map(str, self.gallery.images)), self.gallery.texts]
        )
        if self.settings.task.generated:  # no file changes when the images do
            content = ["world", WORLD, content]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _first_images(gallery: Gallery, limit: int | None) -> Gallery:
    """The first images, with their texts."""
    if limit is None:
        return gallery
    texts = [text for text, image in enumerate(gallery.image_of_text) if image < limit]
    return Gallery(
        images=gallery.images[:limit],
        texts=tuple(gallery.texts[text] for text in texts),
        image_of_text=tuple(gallery.image_of_text[text] for text in texts),
    )


Images = tuple[Path, ...]  # of one item


def shuffled_images(items: Sequence[Item], *, seed: int = 0) -> dict[Images, Images] | None:
    """Maps each image, or pair of images, to another one; the map is a permutation.

    No image is mapped to one of the same unit, because another picture of the same scene could still be right. Returns
    None if there are too few units for that.
    """
    units: dict[Images, set[str]] = {}
    for item in items:
        units.setdefault(item.images, set()).add(item.unit)
    shuffled_units = sorted({unit for image_units in units.values() for unit in image_units})
    random.Random(seed).shuffle(shuffled_units)
    position = {unit: index for index, unit in enumerate(shuffled_units)}
    ring = sorted(units, key=lambda images: (min(position[unit] for unit in units[images]), images))
    for step in _rotations(len(ring)):
        others = {images: ring[(index + step) % len(ring)] for index, images in enumerate(ring)}
        if all(units[images].isdisjoint(units[other]) for images, other in others.items()):
            return others
    return None


def _rotations(count: int) -> list[int]:
    """Steps by which to rotate a ring of images; first half the ring, which takes images furthest from their unit."""
    return sorted(range(1, count), key=lambda step: abs(2 * step - count))[:100]


def shuffled_columns(count: int, *, seed: int = 0) -> list[int] | None:
    """For each image of a gallery, the index of another image; None if there are fewer than two."""
    if count < 2:
        return None
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return [other for _, other in sorted(zip(order, order[1:] + order[:1], strict=True))]

"""A data set of questions with one answer each, from its files, as training samples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vlbench.evaluation.images import resized
from vlbench.inputs import open_image
from vlbench.specs import Input
from vlbench.tasks.items import Item
from vlbench.training.samples import Texts, TrainingSamples

REMEMBERED = 8192  # images, 49 kB each at 128x128


class ItemStream:
    """The items of a training split, again and again, each time in another order.

    Raises InputError where an image cannot be read.

    Args:
        items: with one answer each.
        answers: to choose from, in the order of the classes.
        wanted: size of the images.
        seed: of the orders.
    """

    def __init__(self, items: Sequence[Item], answers: Sequence[str], wanted: Input, seed: int) -> None:
        self.items, self.wanted, self.seed = items, wanted, seed
        self.classes = {answer: place for place, answer in enumerate(answers)}
        self.texts = Texts(wanted.text_tokens)
        self._order: tuple[int, list[int]] = (-1, [])
        self._images: dict[Path, Tensor] = {}

    def batch(self, start: int, count: int) -> TrainingSamples:
        items = [self._item(sample) for sample in range(start, start + count)]
        texts = self.texts.questions([item.text for item in items])
        return TrainingSamples(
            pixels=torch.stack([self._pixels(item.images[0]) for item in items]),
            questions=texts,
            answers=torch.tensor([self.classes[item.answers[0]] for item in items]),
            captions=texts,
            boxes=[],
            classes=[],
            draw=0.0,
        )

    def _item(self, sample: int) -> Item:
        epoch, place = divmod(sample, len(self.items))
        if self._order[0] != epoch:
            order = list(range(len(self.items)))
            random.Random(f"{self.seed} {epoch}").shuffle(order)
            self._order = (epoch, order)
        return self.items[self._order[1][place]]

    def _pixels(self, path: Path) -> Tensor:
        found = self._images.get(path)
        if found is None:
            image = resized(open_image(path, option=""), self.wanted).convert("RGB")
            found = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
            if len(self._images) < REMEMBERED:
                self._images[path] = found
        return found

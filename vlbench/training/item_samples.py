"""Training samples from the files of a data set whose questions have one answer each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from vlbench.evaluation.images import resized
from vlbench.files.images import open_image
from vlbench.specs import Input
from vlbench.tasks.items import Item
from vlbench.training.samples import TextEncoder, TrainingSamples

CACHED_IMAGES = 8192  # 49 kB each at 128x128, in all data-loading processes together


class ItemStream:
    """The items of a training split, repeated endlessly, each epoch in another order.

    Raises InputError where an image cannot be read.

    Args:
        items: with one answer each.
        answers: the possible answers, in the order of the classes.
        model_input: gives the sizes of images and texts.
        seed: of the orders.
    """

    def __init__(self, items: Sequence[Item], answers: Sequence[str], model_input: Input, seed: int) -> None:
        self.items, self.model_input, self.seed = items, model_input, seed
        self.classes = {answer: index for index, answer in enumerate(answers)}
        self.encoder = TextEncoder(model_input.text_tokens)
        self._epoch, self._order = -1, list[int]()
        self._images: dict[Path, Tensor] = {}

    def batch(self, start: int, count: int) -> TrainingSamples:
        items = [self._item(sample) for sample in range(start, start + count)]
        texts = self.encoder.questions([item.text for item in items])
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
        epoch, position = divmod(sample, len(self.items))
        if self._epoch != epoch:
            self._epoch, self._order = epoch, list(range(len(self.items)))
            random.Random(f"{self.seed} {epoch}").shuffle(self._order)
        return self.items[self._order[position]]

    def _pixels(self, path: Path) -> Tensor:
        pixels = self._images.get(path)
        if pixels is None:
            image = resized(open_image(path, option=""), self.model_input).convert("RGB")
            pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
            processes = get_worker_info()
            if len(self._images) < CACHED_IMAGES // (processes.num_workers if processes else 1):
                self._images[path] = pixels
        return pixels

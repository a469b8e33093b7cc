"""Training samples of the generated world (an image, a question with its answer, a caption, the things' boxes), and
how samples are divided into steps, processes and micro-batches."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.pinning import Pinnable
from vlbench.errors import InputError
from vlbench.evaluation.adapter import with_mask
from vlbench.evaluation.inputs import RefusedInput, iterate, padded_text
from vlbench.evaluation.processes import Process
from vlbench.specs import ModelSpec
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS, KINDS, Question, captions, question_about
from vlbench.tasks.shapes.scenes import Scene, class_of, scene_at
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.augmentation import KEEP_ANSWERS, RandAugment
from vlbench.training.budget import Spent
from vlbench.training.learner import Stream, TrainingSettings
from vlbench.training.recipe import Recipe

SCENES_PER_SEED = 2**32  # so that two seeds of training share no scene


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSamples(Pinnable):
    """A batch of B samples, on the CPU.

    `draw`, a number from 0 to 1, chooses the objective; it is the same for all batches of a step.
    """

    pixels: Tensor  # (B, 3, H, W) uint8
    questions: Text  # with [MASK] where the answer is read
    answers: Tensor  # (B,) int64
    captions: Text
    boxes: list[Tensor]  # each (T, 4) float32, in pixels
    classes: list[Tensor]  # each (T,) int64
    draw: float


class TextEncoder:
    """Texts as ids of the generated world's own tokenizer, padded to the longest text of a batch.

    Args:
        max_tokens: of a text; a longer one is cut.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._question_ids: dict[str, list[int]] = {}

    @cached_property
    def tokenizer(self) -> WordPiece:
        return WordPiece(VOCABULARY)

    def questions(self, texts: Sequence[str]) -> Text:
        """With [MASK] before the end token; the answer is read there."""
        return self._padded([self._ids_with_mask(text) for text in texts])

    def captions(self, texts: Sequence[str]) -> Text:
        return self._padded([self._ids(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer.ids(text, self.max_tokens)

    def _ids_with_mask(self, text: str) -> list[int]:
        if text not in self._question_ids:
            mask_id = self.tokenizer.pieces["[MASK]"]
            self._question_ids[text] = with_mask(self._ids, mask_id, self.max_tokens, text)
        return self._question_ids[text]

    def _padded(self, ids: Sequence[Sequence[int]]) -> Text:
        return padded_text(ids, self.tokenizer.pieces["[PAD]"])


class ShapesStream:
    """Endless samples of the training split; no two seeds share a scene.

    Sample i has a question of the i-th kind of its stage, or of the next kind that its scene allows, and each of the
    scene's three captions in turn.

    Args:
        side: of the images, in pixels.
        seed: of training.
        batch: samples per step.
        recipe: gives the stages and whether images are augmented.
        max_tokens: of a text.
    """

    def __init__(self, *, side: int, seed: int, batch: int, recipe: Recipe, max_tokens: int) -> None:
        self.side, self.seed, self.batch_size = side, seed, batch
        self.recipe, self.encoder = recipe, TextEncoder(max_tokens)
        self.augment = RandAugment(operations=KEEP_ANSWERS) if recipe.augmentation else None

    def batch(self, start: int, count: int) -> TrainingSamples:
        numbers = range(start, start + count)
        scenes = [self.scene(sample) for sample in numbers]
        questions = [self.question(scene, sample) for sample, scene in zip(numbers, scenes, strict=True)]
        texts = [captions(scene)[sample % 3] for sample, scene in zip(numbers, scenes, strict=True)]
        return TrainingSamples(
            pixels=self._pixels(scenes),
            questions=self.encoder.questions([question.text for question in questions]),
            answers=torch.tensor([ANSWERS.index(question.answer) for question in questions]),
            captions=self.encoder.captions(texts),
            boxes=[torch.tensor([thing.box for thing in scene.things], dtype=torch.float32) for scene in scenes],
            classes=[torch.tensor([class_of(thing) for thing in scene.things]) for scene in scenes],
            draw=uniform_draw(self.seed, start // self.batch_size),
        )

    def scene(self, sample: int) -> Scene:
        most = self.recipe.stage_at(sample).most
        return scene_at("train", self.seed * SCENES_PER_SEED + sample, side=self.side, most=most)

    def question(self, scene: Scene, sample: int) -> Question:
        kinds = self.recipe.stage_at(sample).kinds
        turn = sample % len(kinds)
        order = (*kinds[turn:], *kinds[:turn], *KINDS)  # every scene allows some kind, such as "is there a red thing"
        return next(question for kind in order if (question := question_about(scene, kind)))

    def _pixels(self, scenes: Sequence[Scene]) -> Tensor:
        pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes])).permute(0, 3, 1, 2)
        if self.augment is None:
            return pixels.contiguous()
        return torch.stack(
            [self.augment(image, seed=scene.key % 2**62) for image, scene in zip(pixels, scenes, strict=True)]
        )


def uniform_draw(seed: int, step: int) -> float:
    """A pseudorandom number from 0 to 1 for a step, the same in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest()) / 2**56


def normalised(pixels_B3HW: Tensor, spec: ModelSpec) -> Images:
    """The model's input from uint8 pixels, on their device."""
    mean, std = (
        torch.tensor(values, device=pixels_B3HW.device)[:, None, None] for values in (spec.input.mean, spec.input.std)
    )
    count, _, height, width = pixels_B3HW.shape
    return Images(pixels=pixels_B3HW.float().div(255).sub(mean).div(std), sizes=((height, width),) * count)


PREFETCHED = 3  # micro-batches that each worker prepares in advance

SampleRange = tuple[int, int]  # first sample, number of samples


def batch_at(spent: Spent, settings: TrainingSettings) -> SampleRange:
    """The samples of the next step, over all processes. The last step of a budget of samples takes what is left."""
    left = int(settings.budget.amount) - spent.samples if settings.budget.kind == "samples" else settings.batch
    return spent.samples, min(settings.batch, left)


def divided(samples: SampleRange, parts: int) -> list[SampleRange]:
    """The range in consecutive parts whose sizes differ by at most one; some are empty if there are too few samples."""
    start, count = samples
    bounds = [start + count * part // parts for part in range(parts + 1)]
    return [(low, high - low) for low, high in pairwise(bounds)]


def micro_batches(batch: SampleRange, settings: TrainingSettings, process: Process) -> list[SampleRange]:
    """The parts of a batch that this process computes; those of all processes together are the batch."""
    share = divided(batch, process.world)[process.rank]
    return [part for part in divided(share, settings.accumulate) if part[1]]


def stream_batches(
    stream: Stream, spent: Spent, settings: TrainingSettings, process: Process, *, pinned: bool
) -> Generator[Any, None, None]:
    """The stream's batches for all micro-batches from here on, in order, the same whatever the number of workers.

    Raises InputError where the stream does, after the batches before it; WorkerError where a worker is killed.

    Args:
        pinned: whether they are put into pinned memory, from which a GPU copies asynchronously.
    """
    yield from iterate(
        _StreamDataset(stream),
        task="prepares batches",
        workers=settings.workers,
        sampler=_MicroBatches(spent, settings, process),
        prefetch_factor=PREFETCHED if settings.workers else None,
        generator=torch.Generator(),  # its own, so that it takes nothing from the global one
        pin_memory=pinned,
    )


class _MicroBatches:
    """The micro-batches of this process from a step on; they end only where the budget counts samples."""

    def __init__(self, spent: Spent, settings: TrainingSettings, process: Process) -> None:
        self.spent, self.settings, self.process = spent, settings, process

    def __iter__(self) -> Iterator[SampleRange]:
        spent = self.spent
        while True:
            batch = batch_at(spent, self.settings)
            if not batch[1]:
                return
            yield from micro_batches(batch, self.settings, self.process)
            spent = spent.plus(Spent(samples=batch[1], steps=1))


class _StreamDataset(Dataset):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, samples: SampleRange) -> Any:
        try:
            return self.stream.batch(*samples)
        except InputError as error:
            return RefusedInput(message=str(error))

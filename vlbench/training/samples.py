"""The generated world as training samples (an image, a question with its answer, a caption, the things' boxes), and
which of them each step, process and micro-batch sees."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlbench.architectures.interfaces import Images, Text
from vlbench.errors import InputError
from vlbench.evaluation.adapter import with_mask
from vlbench.evaluation.inputs import RefusedInput, iterate, no_collation, padded_text
from vlbench.evaluation.processes import Process
from vlbench.specs import ModelSpec
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS, KINDS, Question, captions, question_about
from vlbench.tasks.shapes.scenes import Scene, class_of, scene_at
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.augmentation import KEEP_ANSWERS, RandAugment
from vlbench.training.budget import Spent
from vlbench.training.learner import Stream
from vlbench.training.recipe import Recipe
from vlbench.training.settings import TrainingSettings

SCENES_A_SEED = 2**32  # scenes that a seed of training has for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSamples:
    """A batch of B samples, on the CPU. `draw` chooses the objective of the whole step that it is a part of."""

    pixels: Tensor  # (B, 3, H, W) uint8
    questions: Text  # with [MASK] where the answer is read
    answers: Tensor  # (B,) int64
    captions: Text
    boxes: list[Tensor]  # each (T, 4) float32, in pixels
    classes: list[Tensor]  # each (T,) int64
    draw: float


class Texts:
    """The world's own tokenizer, padded to the longest text of a batch.

    Args:
        most_tokens: of a text.
    """

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self._questions: dict[str, list[int]] = {}

    @cached_property
    def words(self) -> WordPiece:
        return WordPiece(VOCABULARY)

    def questions(self, texts: Sequence[str]) -> Text:
        """[MASK] before the end token, where the answer is read."""
        return self._padded([self._question(text) for text in texts])

    def captions(self, texts: Sequence[str]) -> Text:
        return self._padded([self._ids(text) for text in texts])

    def _ids(self, text: str) -> list[int]:
        return self.words.ids(text, self.most_tokens)

    def _question(self, text: str) -> list[int]:
        if text not in self._questions:
            self._questions[text] = with_mask(self._ids, self.words.pieces["[MASK]"], self.most_tokens, text)
        return self._questions[text]

    def _padded(self, ids: Sequence[Sequence[int]]) -> Text:
        return padded_text(ids, self.words.pieces["[PAD]"])


class ShapesStream:
    """Samples of the training split without an end; each seed has scenes of its own.

    Sample i asks a question of the i-th kind of its stage, or of the next kind that its scene gives, and brings one of
    the scene's captions in turn.

    Args:
        side: of the images, in pixels.
        seed: of training.
        batch: samples of a step, all of which have the same `draw`.
        recipe: how many things there are, and whether images are augmented.
        most_tokens: of a text.
    """

    def __init__(self, *, side: int, seed: int, batch: int, recipe: Recipe, most_tokens: int) -> None:
        self.side, self.seed, self.batch_size = side, seed, batch
        self.recipe, self.texts = recipe, Texts(most_tokens)
        self.augment = RandAugment(operations=KEEP_ANSWERS) if recipe.augmentation else None

    def batch(self, start: int, count: int) -> TrainingSamples:
        scenes = [self.scene(sample) for sample in range(start, start + count)]
        asked = [self.asked(scene, start + place) for place, scene in enumerate(scenes)]
        told = [captions(scene)[(start + place) % 3] for place, scene in enumerate(scenes)]
        return TrainingSamples(
            pixels=self._pixels(scenes),
            questions=self.texts.questions([one.text for one in asked]),
            answers=torch.tensor([ANSWERS.index(one.answer) for one in asked]),
            captions=self.texts.captions(told),
            boxes=[torch.tensor([thing.box for thing in scene.things], dtype=torch.float32) for scene in scenes],
            classes=[torch.tensor([class_of(thing) for thing in scene.things]) for scene in scenes],
            draw=drawn(self.seed, start // self.batch_size),
        )

    def scene(self, sample: int) -> Scene:
        most = self.recipe.stage_at(sample).most
        return scene_at("train", self.seed * SCENES_A_SEED + sample, side=self.side, most=most)

    def asked(self, scene: Scene, sample: int) -> Question:
        kinds = self.recipe.stage_at(sample).kinds
        turn = sample % len(kinds)
        order = (*kinds[turn:], *kinds[:turn], *KINDS)  # some kind is always given, as whether there is a red thing
        return next(found for kind in order if (found := question_about(scene, kind)))

    def _pixels(self, scenes: Sequence[Scene]) -> Tensor:
        pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes])).permute(0, 3, 1, 2)
        if self.augment is None:
            return pixels.contiguous()
        return torch.stack(
            [self.augment(image, seed=scene.key % 2**62) for image, scene in zip(pixels, scenes, strict=True)]
        )


def drawn(seed: int, step: int) -> float:
    """A number from 0 to 1 for a step, the same in every process."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {step}".encode(), digest_size=7).digest()) / 2**56


def normalised(pixels_B3HW: Tensor, spec: ModelSpec) -> Images:
    """Of uint8 pixels, on their device, what a model reads."""
    mean, std = (
        torch.tensor(one, device=pixels_B3HW.device)[:, None, None] for one in (spec.input.mean, spec.input.std)
    )
    count, _, height, width = pixels_B3HW.shape
    return Images(pixels=pixels_B3HW.float().div(255).sub(mean).div(std), sizes=((height, width),) * count)


AHEAD = 3  # micro-batches that each worker keeps ready

Range = tuple[int, int]  # first sample, how many


def batch_at(spent: Spent, settings: TrainingSettings) -> Range:
    """The samples of the next step, over all processes; the last step of a budget of samples takes what is left."""
    left = int(settings.budget.amount) - spent.samples if settings.budget.kind == "samples" else settings.batch
    return spent.samples, min(settings.batch, left)


def shares(whole: Range, parts: int) -> list[Range]:
    """A range cut into consecutive ones whose counts differ by one at the most; some are empty if there are too few."""
    start, count = whole
    bounds = [start + count * part // parts for part in range(parts + 1)]
    return [(low, high - low) for low, high in pairwise(bounds)]


def micro_batches(whole: Range, settings: TrainingSettings, process: Process) -> list[Range]:
    """What this process computes of a step, piece by piece; the pieces of all processes together are the step."""
    own = shares(whole, process.world)[process.rank]
    return [piece for piece in shares(own, settings.accumulate) if piece[1]]


def stream_batches(
    stream: Stream, spent: Spent, settings: TrainingSettings, process: Process, *, pinned: bool
) -> Generator[Any, None, None]:
    """The batches of all micro-batches to come, in order, the same whatever the number of workers.

    Raises InputError where the stream does, after the batches before; WorkerError where a worker is killed.

    Args:
        pinned: whether they are put where a GPU can fetch them itself.
    """
    workers = settings.workers
    loader: DataLoader[Any] = DataLoader(
        _Prepared(stream),
        batch_size=None,
        sampler=_Wanted(spent, settings, process),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=no_collation,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # of its own, so that it takes nothing from the global one
        pin_memory=pinned,
    )
    yield from iterate(loader, task="prepares batches")


class _Wanted:
    """The ranges of all micro-batches from a step on, without an end unless samples are counted."""

    def __init__(self, spent: Spent, settings: TrainingSettings, process: Process) -> None:
        self.spent, self.settings, self.process = spent, settings, process

    def __iter__(self) -> Iterator[Range]:
        spent = self.spent
        while True:
            whole = batch_at(spent, self.settings)
            if not whole[1]:
                return
            yield from micro_batches(whole, self.settings, self.process)
            spent = spent.plus(Spent(samples=whole[1], steps=1))


class _Prepared(Dataset):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, wanted: Range) -> Any:
        try:
            return self.stream.batch(*wanted)
        except InputError as error:
            return RefusedInput(message=str(error))


def _leave_interrupts(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains ends its workers when it is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

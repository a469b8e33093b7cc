"""The generated world as tasks: questions, statements about pairs of images, and captions for retrieval.

There are no files: an image has a path that names its scene, and is drawn on demand.
"""

from __future__ import annotations

import re
from pathlib import Path

from vlbench.tasks.items import GENERATED, Gallery, Item
from vlbench.tasks.shapes.language import ANSWERS, captions, questions_about
from vlbench.tasks.shapes.scenes import SIDE, Scene, scene_at
from vlbench.tasks.shapes.statements import statement_about

SCENES = {"test": 1000, "val": 500, "train": 4000}  # with questions; the text-only baseline learns from those of train
SEARCHED = {"test": 250, "val": 100, "train": 500}  # fewer, because every text is scored with every image
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
_PATH = re.compile(GENERATED + r"(test|val|train)-(\d+)-(\d+)")


def image_path(split: str, index: int, seed: int = 0) -> Path:
    """The path that names a scene's image, though there is no such file."""
    return Path(f"{GENERATED}{split}-{seed}-{index}")


def generated_scene(path: Path, side: int = SIDE) -> Scene | None:
    """The scene whose image this path names; None if the path names a file."""
    match = _PATH.fullmatch(str(path))
    return scene_at(match[1], int(match[3]), seed=int(match[2]), side=side) if match else None


def question_number(index: int, number: int) -> int:
    """The identifier of the question with this number about the scene with this index."""
    return 10 * index + number


def question_items(split: str, seed: int = 0) -> list[Item]:
    """For each scene of a split, one question of each kind that it allows."""
    items = []
    for index in range(SCENES[split]):
        path = image_path(split, index, seed)
        for number, question in enumerate(questions_about(scene_at(split, index, seed=seed))):
            items.append(
                Item(
                    identifier=str(question_number(index, number)),
                    text=question.text,
                    images=(path,),
                    answers=(question.answer,),
                    unit=str(index),
                    kind=question.kind,
                )
            )
    return items


def statement_items(split: str, seed: int = 0) -> list[Item]:
    """One statement about each pair of consecutive scenes."""
    items = []
    for index in range(0, 2 * SCENES[split], 2):
        left, right = (scene_at(split, scene, seed=seed) for scene in (index, index + 1))
        statement = statement_about(left, right)
        items.append(
            Item(
                identifier=f"{split}-{index // 2}-0-0",
                text=statement.text,
                images=(image_path(split, left.index, seed), image_path(split, right.index, seed)),
                answers=(str(statement.label).lower(),),
                unit=str(index // 2),
                kind=statement.form,
            )
        )
    return items


def gallery(split: str, seed: int = 0) -> Gallery:
    """The first scenes of a split, each with its captions."""
    texts = [captions(scene_at(split, index, seed=seed)) for index in range(SEARCHED[split])]
    return Gallery(
        images=tuple(image_path(split, index, seed) for index in range(len(texts))),
        texts=tuple(text for image_texts in texts for text in image_texts),
        image_of_text=tuple(index for index, image_texts in enumerate(texts) for _ in image_texts),
    )


def answer_set(_folder: Path) -> tuple[str, ...]:
    """All answers to questions, in the order of a model's classes."""
    return ANSWERS

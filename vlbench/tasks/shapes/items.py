"""The generated world as splits of tasks: questions, statements about pairs, and captions to search by.

No file is needed: an image is named by a path that tells which scene it is of, and drawn when it is asked for.
"""

from __future__ import annotations

import re
from pathlib import Path

from vlbench.tasks.items import GENERATED, Gallery, Item
from vlbench.tasks.shapes.language import captions, questions
from vlbench.tasks.shapes.scenes import SIDE, Scene, scene_at
from vlbench.tasks.shapes.statements import statement

SCENES = {"test": 1000, "val": 500, "train": 4000}  # of train as many as the baseline without images learns from
SEARCHED = {"test": 250, "val": 100, "train": 500}  # every text is tried with every image
VOCABULARY = Path(__file__).with_name("vocabulary.txt")
_NAME = re.compile(GENERATED + r"(test|val|train)-(\d+)-(\d+)")


def image_path(split: str, index: int, seed: int = 0) -> Path:
    """What names the image of a scene, though no file lies there."""
    return Path(f"{GENERATED}{split}-{seed}-{index}")


def generated_scene(path: Path, side: int = SIDE) -> Scene | None:
    """The scene whose image a path names; None where it names a file."""
    named = _NAME.fullmatch(str(path))
    return scene_at(named[1], int(named[3]), seed=int(named[2]), side=side) if named else None


def question_number(index: int, number: int) -> int:
    """The identifier of a scene's question, in its place."""
    return 10 * index + number


def question_items(split: str, seed: int = 0) -> list[Item]:
    """Of each scene of a split one question of each kind that it gives, the scene's questions one after the other."""
    found = []
    for index in range(SCENES[split]):
        path = image_path(split, index, seed)
        for number, asked in enumerate(questions(scene_at(split, index, seed=seed))):
            found.append(
                Item(
                    identifier=str(question_number(index, number)),
                    text=asked.text,
                    images=(path,),
                    answers=(asked.answer,),
                    unit=str(index),
                    kind=asked.kind,
                )
            )
    return found


def statement_items(split: str, seed: int = 0) -> list[Item]:
    """A statement about each scene and the next."""
    found = []
    for index in range(0, 2 * SCENES[split], 2):
        pair = [scene_at(split, place, seed=seed) for place in (index, index + 1)]
        said = statement(*pair)
        found.append(
            Item(
                identifier=f"{split}-{index // 2}-0-0",
                text=said.text,
                images=tuple(image_path(split, scene.index, seed) for scene in pair),
                answers=(str(said.label).lower(),),
                unit=str(index // 2),
                kind=said.form,
            )
        )
    return found


def gallery(split: str, seed: int = 0) -> Gallery:
    """The first scenes of a split, each with its captions."""
    texts = [captions(scene_at(split, index, seed=seed)) for index in range(SEARCHED[split])]
    return Gallery(
        images=tuple(image_path(split, index, seed) for index in range(len(texts))),
        texts=tuple(text for own in texts for text in own),
        image_of_text=tuple(index for index, own in enumerate(texts) for _ in own),
    )

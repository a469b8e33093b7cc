"""VQAv2 (Goyal et al. 2017): questions and annotations as visualqa.org publishes them, images as COCO does.

Where `data_type` names other images than `mscoco`, these are PNG under its name, as those of VQA's abstract scenes are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import AbsentError, checked, folder_of, found, read_json

SPLITS = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
ANSWERS = 10  # a question
MSCOCO = "mscoco"

Answers = dict[int, tuple[str, tuple[str, ...]]]


def read_vqav2(folder: Path, split: str) -> list[Item]:
    """The questions of a split, in the file's order; the test splits have answers only where a file brings them."""
    name = SPLITS[split]
    questions_path = found(folder, (f"v2_OpenEnded_mscoco_{name}_questions.json",))
    content = read_json(questions_path)
    questions = checked(str(questions_path), content, lambda content: content["questions"])
    of_images = str(content.get("data_type", MSCOCO))
    answers = _answers_of(folder, name, kept_back=split.startswith("test"))
    year = "test2015" if split.startswith("test") else name
    pattern = f"COCO_{year}_{{:012}}.jpg" if of_images == MSCOCO else f"{of_images}_{year}_{{:012}}.png"
    images = folder_of(folder, (year, f"images/{year}"))

    def item(question: dict[str, Any]) -> Item:
        number, image = int(question["question_id"]), int(question["image_id"])
        if answers and number not in answers:
            raise ValueError(f"question_id {number} has no annotation")
        kind, given = answers.get(number, ("", ()))
        return Item(
            identifier=str(number),
            text=str(question["question"]),
            images=(images / pattern.format(image),),
            answers=given,
            unit=str(image),
            kind=kind,
        )

    return [checked(f"{questions_path} question {place}", one, item) for place, one in enumerate(questions, start=1)]


def _answers_of(folder: Path, name: str, *, kept_back: bool) -> Answers:
    """None where the split keeps them to itself and there is no file of them."""
    try:
        return _answers(found(folder, (f"v2_mscoco_{name}_annotations.json",)))
    except AbsentError:
        if kept_back:
            return {}
        raise


def _answers(path: Path) -> Answers:
    """By question, the kind of its answer and the answers of ten people."""

    def of_question(annotation: dict[str, Any]) -> tuple[int, tuple[str, tuple[str, ...]]]:
        answers = tuple(str(one["answer"]) for one in annotation["answers"])
        if len(answers) != ANSWERS:
            raise ValueError(f"{len(answers)} answers, not {ANSWERS}")
        return int(annotation["question_id"]), (str(annotation.get("answer_type", "")), answers)

    annotations = checked(str(path), read_json(path), lambda content: content["annotations"])
    pairs = [checked(f"{path} annotation {place}", one, of_question) for place, one in enumerate(annotations, start=1)]
    if len(dict(pairs)) != len(pairs):
        raise InputError(f"{path}: a question_id stands there twice")
    return dict(pairs)

"""VQAv2 (Goyal et al. 2017): questions and annotations as visualqa.org publishes them, images as COCO does.

If `data_type` is not `mscoco`, images are PNG files under its name, as VQA's abstract scenes are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import MissingFileError, checked, find_file, find_folder, read_json

SUBTYPES = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
PEOPLE = 10  # who answered each question
MSCOCO = "mscoco"

Annotations = dict[int, tuple[str, tuple[str, ...]]]  # by question: the kind of its answer, and the people's answers


def read_vqav2(folder: Path, split: str) -> list[Item]:
    """The questions of a split, in the file's order. The test splits have answers only if there is a file of them."""
    subtype = SUBTYPES[split]
    questions_path = find_file(folder, (f"v2_OpenEnded_mscoco_{subtype}_questions.json",))
    content = read_json(questions_path)
    questions = checked(str(questions_path), content, lambda content: content["questions"])
    data_type = str(content.get("data_type", MSCOCO))
    annotations = _annotations(folder, subtype, optional=split.startswith("test"))
    image_subtype = "test2015" if split.startswith("test") else subtype
    pattern = (
        f"COCO_{image_subtype}_{{:012}}.jpg" if data_type == MSCOCO else f"{data_type}_{image_subtype}_{{:012}}.png"
    )
    images = find_folder(folder, (image_subtype, f"images/{image_subtype}"))

    def item(question: dict[str, Any]) -> Item:
        number, image = int(question["question_id"]), int(question["image_id"])
        if annotations and number not in annotations:
            raise ValueError(f"question_id {number} has no annotation")
        kind, answers = annotations.get(number, ("", ()))
        return Item(
            identifier=str(number),
            text=str(question["question"]),
            images=(images / pattern.format(image),),
            answers=answers,
            unit=str(image),
            kind=kind,
        )

    return [
        checked(f"{questions_path} question {number}", question, item)
        for number, question in enumerate(questions, start=1)
    ]


def _annotations(folder: Path, subtype: str, *, optional: bool) -> Annotations:
    """Empty if the file of annotations is `optional` and missing."""
    try:
        return _read_annotations(find_file(folder, (f"v2_mscoco_{subtype}_annotations.json",)))
    except MissingFileError:
        if optional:
            return {}
        raise


def _read_annotations(path: Path) -> Annotations:
    def convert(annotation: dict[str, Any]) -> tuple[int, tuple[str, tuple[str, ...]]]:
        answers = tuple(str(answer["answer"]) for answer in annotation["answers"])
        if len(answers) != PEOPLE:
            raise ValueError(f"{len(answers)} answers, not {PEOPLE}")
        return int(annotation["question_id"]), (str(annotation.get("answer_type", "")), answers)

    entries = checked(str(path), read_json(path), lambda content: content["annotations"])
    annotations = [
        checked(f"{path} annotation {number}", entry, convert) for number, entry in enumerate(entries, start=1)
    ]
    if len(dict(annotations)) != len(annotations):
        raise InputError(f"{path}: a question_id occurs twice")
    return dict(annotations)

"""VQAv2 (Goyal et al. 2017): questions and annotations as visualqa.org publishes them, images as COCO does.

If `data_type` is not `mscoco`, images are PNG files under its name, as VQA's abstract scenes are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from vlbench.errors import InputError
from vlbench.files.json_files import read_json
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import MissingFileError, find_file, find_folder, path_within
from vlbench.tasks.readers.records import Number, Record, checked

SUBTYPES = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
PEOPLE = 10  # who answered each question
MSCOCO = "mscoco"

Annotations = dict[int, tuple[str, tuple[str, ...]]]  # by question: the kind of its answer, and the people's answers


class QuestionRecord(Record):
    """A question, without its answers."""

    question_id: Number
    image_id: Annotated[Number, Field(ge=0)]
    question: str


class QuestionFile(Record):
    """The file of questions, which are checked one by one, so that an error names one."""

    data_type: str = MSCOCO
    questions: list[Any]


class AnswerRecord(Record):
    """What one of the ten people answered."""

    answer: str


class AnnotationRecord(Record):
    """The answers to a question."""

    question_id: Number
    answer_type: str = ""
    answers: list[AnswerRecord]

    @model_validator(mode="after")
    def _of_ten_people(self) -> AnnotationRecord:
        if len(self.answers) != PEOPLE:
            raise ValueError(f"{len(self.answers)} answers, not {PEOPLE}")
        return self


class AnnotationFile(Record):
    """The file of annotations, which are checked one by one."""

    annotations: list[Any]


def read_vqav2(folder: Path, split: str) -> list[Item]:
    """The questions of a split, in the file's order. The test splits have answers only if there is a file of them."""
    subtype = SUBTYPES[split]
    path = find_file(folder, (f"v2_OpenEnded_mscoco_{subtype}_questions.json",))
    content = checked(str(path), read_json(path), QuestionFile)
    annotations = _annotations(folder, subtype, optional=split.startswith("test"))
    image_subtype = "test2015" if split.startswith("test") else subtype
    is_photo = content.data_type == MSCOCO
    prefix = f"{'COCO' if is_photo else content.data_type}_{image_subtype}_"
    suffix = ".jpg" if is_photo else ".png"
    images = find_folder(folder, (image_subtype, f"images/{image_subtype}"))
    items = []
    for number, entry in enumerate(content.questions, start=1):
        where = f"{path} question {number}"
        question = checked(where, entry, QuestionRecord)
        if annotations and question.question_id not in annotations:
            raise InputError(f"{where}: question_id {question.question_id} has no annotation")
        kind, answers = annotations.get(question.question_id, ("", ()))
        items.append(
            Item(
                identifier=str(question.question_id),
                text=question.question,
                images=(path_within(images, f"{prefix}{question.image_id:012}{suffix}", where),),
                answers=answers,
                unit=str(question.image_id),
                kind=kind,
            )
        )
    return items


def _annotations(folder: Path, subtype: str, *, optional: bool) -> Annotations:
    """Empty if the file of annotations is `optional` and missing."""
    try:
        return _read_annotations(find_file(folder, (f"v2_mscoco_{subtype}_annotations.json",)))
    except MissingFileError:
        if optional:
            return {}
        raise


def _read_annotations(path: Path) -> Annotations:
    annotations: Annotations = {}
    entries = checked(str(path), read_json(path), AnnotationFile).annotations
    for number, content in enumerate(entries, start=1):
        entry = checked(f"{path} annotation {number}", content, AnnotationRecord)
        if entry.question_id in annotations:
            raise InputError(f"{path}: question_id {entry.question_id} occurs twice")
        annotations[entry.question_id] = entry.answer_type, tuple(answer.answer for answer in entry.answers)
    return annotations

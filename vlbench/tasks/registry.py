"""The tasks by name: which splits they have, how their files are read, and what is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from vlbench.errors import InputError, nearest
from vlbench.tasks.items import Gallery, Item
from vlbench.tasks.readers.easy_vqa import read_easy_vqa
from vlbench.tasks.readers.files import AbsentError
from vlbench.tasks.readers.karpathy import read_karpathy
from vlbench.tasks.readers.nlvr import read_nlvr, read_nlvr2
from vlbench.tasks.readers.vqav2 import SPLITS, read_vqav2
from vlbench.tasks.shapes import items as shapes

Kind = Literal["votes", "answer", "statement", "retrieval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Attributes:
    kind: what is right: an answer that people voted for, one answer, a statement's label, or what belongs together.
    splits: the first is the default; `training` is where a baseline without images learns, if the data has it.
    generated: there are no files; a folder is not looked at.
    """

    name: str
    title: str
    kind: Kind
    splits: tuple[str, ...]
    read: Callable[[Path, str], list[Item]] | None = None
    read_gallery: Callable[[Path, str], Gallery] | None = None
    training: str = "train"
    generated: bool = False

    def folder(self, given: Path | None) -> Path:
        """Where its files are read. Raises InputError where no folder is given, or one for a task without files."""
        if self.generated and given is not None:
            raise InputError(f"--data {given}: {self.name} is generated and reads no files; leave --data out")
        if not self.generated and given is None:
            raise InputError(f"--task {self.name}: its files are wanted; --data DIR names their folder")
        return given or Path()

    def items(self, folder: Path, split: str) -> list[Item]:
        """Raises InputError where a file is missing or damaged, or the split holds nothing."""
        assert self.read
        items = self.read(folder, self.checked(split))
        if not items:
            raise InputError(f"--data {folder}: the split {split!r} of {self.name} is empty")
        doubled = _doubled([item.identifier for item in items])
        if doubled:
            raise InputError(f"--data {folder}: {doubled} stands twice in the split {split!r}")
        return items

    def training_items(self, folder: Path, split: str) -> list[Item]:
        """Those that a baseline may learn from; none where the folder has no such split, or it is the one scored."""
        if self.read is None or split == self.training:
            return []
        try:
            return self.read(folder, self.training)
        except AbsentError:
            return []

    def gallery(self, folder: Path, split: str) -> Gallery:
        assert self.read_gallery
        return self.read_gallery(folder, self.checked(split))

    def checked(self, split: str) -> str:
        if split not in self.splits:
            raise InputError(f"--split {split}: {self.name} has {', '.join(self.splits)}")
        return split


def _doubled(identifiers: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for identifier in identifiers:
        if identifier in seen:
            return identifier
        seen.add(identifier)
    return None


SHAPES = ("test", "val", "train")


def _questions(_folder: Path, split: str) -> list[Item]:
    return shapes.question_items(split)


def _pairs(_folder: Path, split: str) -> list[Item]:
    return shapes.statement_items(split)


def _gallery(_folder: Path, split: str) -> Gallery:
    return shapes.gallery(split)


TASKS = {
    task.name: task
    for task in (
        Task(name="vqav2", title="VQAv2", kind="votes", splits=("val", "train", "test-dev", "test"), read=read_vqav2),
        Task(name="nlvr2", title="NLVR2", kind="statement", splits=("dev", "test1", "test2", "train"), read=read_nlvr2),
        Task(name="nlvr", title="NLVR", kind="statement", splits=("dev", "test", "train"), read=read_nlvr),
        Task(name="shapes", title="Shapes", kind="answer", splits=SHAPES, read=_questions, generated=True),
        Task(name="shapes-pairs", title="Shapes, pairs", kind="statement", splits=SHAPES, read=_pairs, generated=True),
        Task(
            name="shapes-retrieval",
            title="Shapes, retrieval",
            kind="retrieval",
            splits=SHAPES,
            read_gallery=_gallery,
            generated=True,
        ),
        Task(name="easy-vqa", title="easy-VQA", kind="answer", splits=("test", "train"), read=read_easy_vqa),
        *(
            Task(
                name=name,
                title=title,
                kind="retrieval",
                splits=("test", "val", "train"),
                read_gallery=partial(read_karpathy, data=name),
            )
            for name, title in (("flickr30k", "Flickr30K"), ("coco", "COCO"))
        ),
    )
}
assert set(SPLITS) == set(TASKS["vqav2"].splits)


def task_named(name: str) -> Task:
    """Raises InputError where there is none of this name."""
    if name not in TASKS:
        raise InputError(f"--task {name}: no such task; {nearest(name, TASKS)}")
    return TASKS[name]

"""The tasks by name: their kind, their splits, and what reads their data.

Readers are named, not imported, so that the command line can list the tasks without loading what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlbench.errors import InputError, nearest
from vlbench.tasks.readers.files import MissingFileError

if TYPE_CHECKING:
    from vlbench.specs.heads import TaskKind
    from vlbench.tasks.items import Gallery, Item

READERS = "vlbench.tasks.readers"
SHAPES = "vlbench.tasks.shapes.items"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A data set, and what it asks of a model.

    Attributes:
        kind: as defined in specs/heads.py; `ranking` reads a gallery, every other kind reads items.
        splits: the first is the default.
        reader: "module:function" of a function that takes a folder and a split and returns items or a gallery. For a
            generated task it takes the split alone.
        generated: the task has no files.
        training: the split from which the text-only baseline learns, if the data set has it.
        answers_per_item: from how many people; with several, a prediction scores by how many agree with it.
        answer_set: "module:function" of a function that takes the folder and returns all answers that occur, for models
            whose weights do not name their classes.
        submitted_identifier: how a file of predictions names an item.
    """

    name: str
    kind: TaskKind
    splits: tuple[str, ...]
    reader: str
    generated: bool = False
    training: str = "train"
    answers_per_item: int = 1
    answer_set: str | None = None
    submitted_identifier: str = "{identifier}"

    @property
    def has_gallery(self) -> bool:
        """Whether images and texts are searched, rather than items answered one by one."""
        return self.kind == "ranking"

    @property
    def has_one_answer(self) -> bool:
        """Whether the task asks questions with one correct answer each; models are trained on such tasks alone."""
        return self.kind == "answers" and self.answers_per_item == 1

    def folder(self, data: Path | None) -> Path:
        """The folder of its files. Raises InputError if none is given, or if one is given for a generated task."""
        if self.generated and data is not None:
            raise InputError(f"--data {data}: {self.name} is generated and reads no files; leave --data out")
        if not self.generated and data is None:
            raise InputError(f"--task {self.name}: needs its files; --data DIR names their folder")
        return data or Path()

    def items(self, folder: Path, split: str) -> list[Item]:
        """Raises InputError if a file is missing or damaged, or if the split is empty."""
        items = self._read_items(folder, self.checked(split))
        if not items:
            raise InputError(f"--data {folder}: the split {split!r} of {self.name} is empty")
        duplicate = _first_duplicate([item.identifier for item in items])
        if duplicate:
            raise InputError(f"--data {folder}: {duplicate} occurs twice in the split {split!r}")
        return items

    def training_items(self, folder: Path, split: str) -> list[Item]:
        """Items for the text-only baseline to learn from; none if the folder lacks them, or if they are scored."""
        if self.has_gallery or split == self.training:
            return []
        try:
            return self._read_items(folder, self.training)
        except MissingFileError:
            return []

    def gallery(self, folder: Path, split: str) -> Gallery:
        """Raises InputError if a file is missing or damaged, or if the split is empty."""
        gallery: Gallery = function_named(self.reader)(*self._arguments(folder, self.checked(split)))
        return gallery

    def answers(self, folder: Path) -> tuple[str, ...]:
        """All answers that occur, in the order of the classes; empty if the data set does not say."""
        return tuple(function_named(self.answer_set)(folder)) if self.answer_set else ()

    def checked(self, split: str) -> str:
        """The same split. Raises InputError if the task does not have it."""
        if split not in self.splits:
            raise InputError(f"--split {split}: {self.name} has {', '.join(self.splits)}")
        return split

    def _read_items(self, folder: Path, split: str) -> list[Item]:
        items: list[Item] = function_named(self.reader)(*self._arguments(folder, split))
        return items

    def _arguments(self, folder: Path, split: str) -> tuple[Path | str, ...]:
        return (split,) if self.generated else (folder, split)


def function_named(name: str) -> Callable[..., Any]:
    """The function that is named as "module:function"."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


def _first_duplicate(identifiers: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for identifier in identifiers:
        if identifier in seen:
            return identifier
        seen.add(identifier)
    return None


GENERATED_SPLITS = ("test", "val", "train")
TASKS = {
    task.name: task
    for task in (
        Task(
            name="vqav2",
            kind="answers",
            splits=("val", "train", "test-dev", "test"),
            reader=f"{READERS}.vqav2:read_vqav2",
            answers_per_item=10,
        ),
        Task(
            name="nlvr2",
            kind="pairs",
            splits=("dev", "test1", "test2", "train"),
            reader=f"{READERS}.nlvr:read_nlvr2",
        ),
        Task(
            name="nlvr",
            kind="statement",
            splits=("dev", "test", "hidden", "train"),
            reader=f"{READERS}.nlvr:read_nlvr",
            submitted_identifier="{split}-{identifier}.png",  # NLVR names the picture, not the statement
        ),
        Task(
            name="easy-vqa",
            kind="answers",
            splits=("test", "train"),
            reader=f"{READERS}.easy_vqa:read_easy_vqa",
            answer_set=f"{READERS}.easy_vqa:answer_set",
        ),
        Task(
            name="flickr30k",
            kind="ranking",
            splits=("test", "val", "train"),
            reader=f"{READERS}.karpathy:read_flickr30k",
        ),
        Task(name="coco", kind="ranking", splits=("test", "val", "train"), reader=f"{READERS}.karpathy:read_coco"),
        Task(
            name="shapes",
            kind="answers",
            splits=GENERATED_SPLITS,
            reader=f"{SHAPES}:question_items",
            generated=True,
            answer_set=f"{SHAPES}:answer_set",
        ),
        Task(
            name="shapes-pairs",
            kind="pairs",
            splits=GENERATED_SPLITS,
            reader=f"{SHAPES}:statement_items",
            generated=True,
        ),
        Task(
            name="shapes-retrieval",
            kind="ranking",
            splits=GENERATED_SPLITS,
            reader=f"{SHAPES}:gallery",
            generated=True,
        ),
    )
}


def trainable_tasks() -> list[str]:
    """The names of the tasks that models can be trained on."""
    return [task.name for task in TASKS.values() if task.has_one_answer]


def task_named(name: str) -> Task:
    """Raises InputError if there is no task of this name."""
    if name not in TASKS:
        raise InputError(f"--task {name}: no such task; {nearest(name, TASKS)}")
    return TASKS[name]

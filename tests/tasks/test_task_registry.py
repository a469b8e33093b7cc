"""The registry of tasks: what it names exists, every kind is complete, and a new task is a reader and an entry."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from vlbench.cli.main import app
from vlbench.evaluation.task_head import MAKERS
from vlbench.files.text import read_lines
from vlbench.specs.heads import SUITABLE, TaskHeads, TaskKind
from vlbench.tasks.items import Item
from vlbench.tasks.kinds import RULES
from vlbench.tasks.predictions import write_answers
from vlbench.tasks.readers.files import find_file
from vlbench.tasks.readers.vqav2 import PEOPLE, SUBTYPES
from vlbench.tasks.registry import TASKS, Task, function_named
from vlbench.tasks.shapes.scenes import SPLITS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_what_the_registry_names_exists(task: Task) -> None:
    assert callable(function_named(task.reader))
    assert task.answer_set is None or callable(function_named(task.answer_set))


def test_splits_are_those_of_the_readers() -> None:
    assert set(SUBTYPES) == set(TASKS["vqav2"].splits)
    assert TASKS["vqav2"].answers_per_item == PEOPLE
    assert all(task.splits == SPLITS for task in TASKS.values() if task.generated)


def test_every_kind_has_its_heads_its_rules_and_its_postprocessing() -> None:
    kinds = set(get_args(TaskKind))
    assert kinds == set(SUITABLE) == set(TaskHeads.model_fields) == set(MAKERS) == {*RULES, "ranking"}
    assert {task.kind for task in TASKS.values()} == kinds


def read_letters(folder: Path, split: str) -> list[Item]:
    """A data set of the simplest kind: one question per line."""
    lines = read_lines(find_file(folder, (f"{split}.txt",)))
    return [
        Item(identifier=str(number), text="which letter?", images=(), answers=(letter,), unit=str(number))
        for number, letter in enumerate(lines)
    ]


def test_a_task_of_a_known_kind_is_a_reader_and_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = Task(name="letters", kind="answers", splits=("test",), reader=f"{__name__}:read_letters")
    monkeypatch.setitem(TASKS, "letters", letters)
    (tmp_path / "test.txt").write_text("a\nb\nb\n")
    write_answers(tmp_path / "p.json", {"0": "a", "1": "A", "2": "B"})
    arguments = ["score", "--task", "letters", "--data", str(tmp_path), "--predictions", str(tmp_path / "p.json")]
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 0, outcome.output
    assert "letters test: 3 scored" in outcome.stdout
    assert "66.67" in outcome.stdout

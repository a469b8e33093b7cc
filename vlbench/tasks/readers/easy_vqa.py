"""easy-VQA (Zhou 2019): coloured shapes, and questions with one of thirteen answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import find_file, read_json, read_text


def read_easy_vqa(folder: Path, split: str) -> list[Item]:
    """One item for each [question, answer, image] of `SPLIT/questions.json`; its index is its identifier.

    Images are `SPLIT/images/N.png`. If there is an `answers.txt`, every answer must be one of its lines.
    """
    path = find_file(folder, (f"{split}/questions.json",))
    known = answer_set(folder)
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path}: not a list of [question, answer, image]")
    return [
        _item(f"{path} question {index + 1}", index, entry, path.parent, known) for index, entry in enumerate(entries)
    ]


def answer_set(folder: Path) -> list[str]:
    """The lines of `answers.txt`; empty if there is no such file."""
    path = next((path for path in (folder / "answers.txt", folder / "data" / "answers.txt") if path.is_file()), None)
    return read_text(path).splitlines() if path else []


def _item(where: str, index: int, entry: Any, folder: Path, known: list[str]) -> Item:
    if not isinstance(entry, list) or len(entry) != 3:
        raise InputError(f"{where}: not [question, answer, image]")
    question, answer, image = entry
    if known and answer not in known:
        raise InputError(f"{where}: the answer {answer!r} is not among those of answers.txt")
    return Item(
        identifier=str(index),
        text=str(question),
        images=(folder / "images" / f"{image}.png",),
        answers=(str(answer),),
        unit=str(image),
    )

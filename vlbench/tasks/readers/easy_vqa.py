"""easy-VQA (Zhou 2019): coloured shapes, and questions with one of thirteen answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError, quoted
from vlbench.files.json_files import read_json
from vlbench.files.text import read_lines
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import find_file, path_within


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
    path = next((path for path in (folder / "answers.txt", folder / "data" / "answers.txt") if path.exists()), None)
    return read_lines(path) if path else []


def _item(where: str, index: int, entry: Any, folder: Path, known: list[str]) -> Item:
    if not isinstance(entry, list) or [type(value) for value in entry[:2]] != [str, str] or len(entry) != 3:
        raise InputError(f"{where}: not [question, answer, image]")
    question, answer, image = entry
    if type(image) not in (int, str):
        raise InputError(f"{where}: the image {quoted(image)} is not the number of a file")
    if known and answer not in known:
        raise InputError(f"{where}: the answer {quoted(answer)} is not among those of answers.txt")
    return Item(
        identifier=str(index),
        text=question,
        images=(path_within(folder / "images", f"{image}.png", where),),
        answers=(answer,),
        unit=str(image),
    )

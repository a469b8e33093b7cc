"""easy-VQA (Zhou 2019): coloured shapes, and questions with one answer of thirteen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.tasks.items import Item
from vlbench.tasks.readers.files import found, read_json


def read_easy_vqa(folder: Path, split: str) -> list[Item]:
    """Triples of question, answer and image, in the file's order; their place, from 0 on, is the identifier.

    `SPLIT/questions.json`, `SPLIT/images/N.png`, and where there is one `answers.txt`, to which answers are held.
    """
    path = found(folder, (f"{split}/questions.json",))
    known = known_answers(folder)
    triples = read_json(path)
    if not isinstance(triples, list):
        raise InputError(f"{path}: not a list of [question, answer, image]")
    return [
        _item(f"{path} question {place + 1}", place, triple, path.parent, known) for place, triple in enumerate(triples)
    ]


def known_answers(folder: Path) -> list[str]:
    """The lines of `answers.txt`; none where there is no such file."""
    path = next((path for path in (folder / "answers.txt", folder / "data" / "answers.txt") if path.is_file()), None)
    return path.read_text(encoding="utf-8").splitlines() if path else []


def _item(where: str, place: int, triple: Any, folder: Path, known: list[str]) -> Item:
    if not isinstance(triple, list) or len(triple) != 3:
        raise InputError(f"{where}: not [question, answer, image]")
    question, answer, image = triple
    if known and answer not in known:
        raise InputError(f"{where}: the answer {answer!r} is not among those of answers.txt")
    return Item(
        identifier=str(place),
        text=str(question),
        images=(folder / "images" / f"{image}.png",),
        answers=(str(answer),),
        unit=str(image),
    )

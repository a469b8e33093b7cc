"""Which answer each class of a model's head stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlbench.errors import InputError


def read_answer_set(path: Path) -> tuple[str, ...]:
    """The answers in the order of their classes.

    Reads a JSON list, a JSON object from answer to class or from class to answer, `config.json` of transformers with
    its `id2label`, and text with an answer a line.

    Raises InputError where the file cannot be read, is none of these, or leaves a class without an answer.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--answers {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--answers {path}: not a text file in UTF-8") from error
    if path.suffix != ".json":
        return _each_once(path, text.rstrip("\n").split("\n"))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--answers {path} line {error.lineno}: not JSON; cut off or damaged") from error
    return _each_once(path, _in_order(path, content))


def _in_order(path: Path, content: Any) -> list[str]:
    if isinstance(content, dict) and isinstance(content.get("id2label"), dict):
        content = content["id2label"]
    if isinstance(content, list) and all(isinstance(one, str) for one in content):
        return content
    if isinstance(content, dict) and content:
        if all(isinstance(place, int) for place in content.values()):
            places = {place: answer for answer, place in content.items()}
        elif all(key.isdecimal() and isinstance(answer, str) for key, answer in content.items()):
            places = {int(key): answer for key, answer in content.items()}
        else:
            places = {}
        if sorted(places) == list(range(len(content))):
            return [places[place] for place in range(len(content))]
    raise InputError(f"--answers {path}: neither a list of answers nor an object from answer to class, each from 0 on")


def _each_once(path: Path, answers: list[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for answer in answers:
        if answer in seen:
            raise InputError(f"--answers {path}: {answer!r} stands there twice")
        seen.add(answer)
    if len(answers) < 2:
        raise InputError(f"--answers {path}: holds {len(answers)} answer; a head chooses among two at least")
    return tuple(answers)


def named_labels(config: Path) -> tuple[str, ...] | None:
    """The answers of a `config.json`; None where it has none, or only the `LABEL_0` that stand for no answer."""
    if not config.is_file():
        return None
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        labels = content.get("id2label") or {}
    except (ValueError, AttributeError):
        return None
    if not labels or labels.get("0") == "LABEL_0":
        return None
    return read_answer_set(config)

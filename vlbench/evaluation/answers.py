"""Which answer each class of a model's head stands for; and options that take FILE for all models or MODEL=FILE for
one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.specs import AnySpec
from vlbench.specs.catalog import index_by_name, unknown_model


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesByModel:
    """Attributes:
    named: by the model's name; they come before what its weights bring.
    otherwise: for models whose weights bring none.
    """

    named: Mapping[str, Path] = field(default_factory=dict)
    otherwise: Path | None = None


NO_FILES = FilesByModel()


def files_by_model(option: str, given: Sequence[str], specs: Sequence[AnySpec]) -> FilesByModel:
    """What an option means that is given as FILE or MODEL=FILE, as often as need be.

    Raises InputError where a file is not there, a model is none of those asked, or one has two files.
    """
    words = {word: specs[place].name for word, place in index_by_name(specs).items()}
    named: dict[str, Path] = {}
    otherwise: Path | None = None
    for one in given:
        name, equals, source = one.partition("=")
        path = Path(source if equals else one).expanduser()
        if equals and name not in words:
            raise unknown_model(f"{option} {one}", name, words)
        if not path.exists():
            raise InputError(f"{option} {path}: no such file")
        if words[name] in named if equals else otherwise:
            raise InputError(f"{option} {one}: {'a second file for ' + name if equals else 'a second file'}; keep one")
        if equals:
            named[words[name]] = path
        else:
            otherwise = path
    return FilesByModel(named=named, otherwise=otherwise)

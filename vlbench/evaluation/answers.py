"""The answers of a head's classes; and options that take FILE for all models or MODEL=FILE for one."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlbench.errors import InputError, quoted
from vlbench.files.json_files import read_json
from vlbench.files.text import read_lines
from vlbench.specs import AnySpec
from vlbench.specs.catalog import index_by_name, unknown_model

CLASS = re.compile(r"[0-9]{1,7}")  # the number of a class, as text


def read_answer_set(path: Path) -> tuple[str, ...]:
    """The answers in the order of their classes.

    Reads a JSON list, a JSON object from answer to class or from class to answer, the `id2label` in a `config.json` of
    transformers, and text with one answer per line.

    Raises InputError if the file cannot be read, has another format, or leaves a class without an answer.
    """
    if path.suffix == ".json":
        answers = _in_class_order(path, read_json(path, option="--answers ", any_number=True))
    else:
        answers = read_lines(path, option="--answers ")
        while answers and not answers[-1]:
            answers.pop()
    return _without_duplicates(path, answers)


def _in_class_order(path: Path, content: Any) -> list[str]:
    if isinstance(content, dict) and isinstance(content.get("id2label"), dict):
        content = content["id2label"]
    if isinstance(content, list) and all(isinstance(answer, str) for answer in content):
        return content
    if isinstance(content, dict) and content:
        if all(type(index) is int for index in content.values()):
            by_class = {index: answer for answer, index in content.items()}
        elif all(CLASS.fullmatch(key) and isinstance(answer, str) for key, answer in content.items()):
            by_class = {int(key): answer for key, answer in content.items()}
        else:
            by_class = {}
        if sorted(by_class) == list(range(len(content))):
            return [by_class[index] for index in range(len(content))]
    raise InputError(
        f"--answers {path}: neither a list of answers nor an object from answer to class, with classes from 0 on"
    )


def _without_duplicates(path: Path, answers: list[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for answer in answers:
        if answer in seen:
            raise InputError(f"--answers {path}: {quoted(answer)} occurs twice")
        seen.add(answer)
    if len(answers) < 2:
        raise InputError(f"--answers {path}: holds {len(answers)} answer; a head chooses among at least two")
    return tuple(answers)


def named_labels(config: Path) -> tuple[str, ...] | None:
    """The answers in a `config.json`; None if it has none, or only placeholders such as `LABEL_0`.

    Raises InputError if the file is damaged, or as `read_answer_set` does.
    """
    if not config.exists():
        return None
    content = read_json(config, any_number=True)
    labels = content.get("id2label") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels or labels.get("0") == "LABEL_0":
        return None
    return read_answer_set(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesByModel:
    """Attributes:
    by_model: by the model's name; used before the files that come with its weights.
    default: for models whose weights come without such a file.
    """

    by_model: Mapping[str, Path] = field(default_factory=dict)
    default: Path | None = None


NO_FILES = FilesByModel()


def files_by_model(option: str, values: Sequence[str], specs: Sequence[AnySpec]) -> FilesByModel:
    """The files that an option names; each value is FILE or MODEL=FILE.

    Raises InputError if a file does not exist, a model is not among the specs, or a model has two files.
    """
    names = {name: specs[index].name for name, index in index_by_name(specs).items()}
    by_model: dict[str, Path] = {}
    default: Path | None = None
    for value in values:
        name, equals, source = value.partition("=")
        path = Path(source if equals else value).expanduser()
        if equals and name not in names:
            raise unknown_model(f"{option} {value}", name, names)
        if equals and not source:
            raise InputError(f"{option} {value}: names no file; {option} {name}=FILE works")
        if not os.path.exists(path):
            raise InputError(f"{option} {path}: no such file")
        if names[name] in by_model if equals else default:
            raise InputError(
                f"{option} {value}: {'a second file for ' + name if equals else 'a second file'}; keep one"
            )
        if equals:
            by_model[names[name]] = path
        else:
            default = path
    return FilesByModel(by_model=by_model, default=default)

"""Files of a data set: found under the names that their publishers gave, read with errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vlbench.errors import InputError

Made = TypeVar("Made")
FOLDERS = ("", "annotations", "questions", "data")


class AbsentError(InputError):
    """A file that is not there, as opposed to one that is damaged."""


def found(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that there is, in the folder or in one usual for it. Raises AbsentError without any."""
    if not folder.is_dir():
        raise AbsentError(f"--data {folder}: no such folder")
    for name in names:
        for subfolder in FOLDERS:
            path = folder / subfolder / name
            if path.is_file():
                return path
    raise AbsentError(f"--data {folder}: holds no {' or '.join(names)}")


def folder_of(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these folders that there is; the first of all where there is none, so that an error can name it."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}{_line_of(error)}: not JSON; cut off or damaged, fetch it again") from error


def read_lines(path: Path, make: Callable[[dict[str, Any]], Made]) -> list[Made]:
    """What `make` makes of each line's JSON object. Raises InputError, naming the line, where it cannot."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    return list(_made(path, lines, make))


def _made(path: Path, lines: list[str], make: Callable[[dict[str, Any]], Made]) -> Iterator[Made]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON; cut off or damaged, fetch the file again") from error
        with_keys = content if isinstance(content, dict) else {}
        yield checked(where, with_keys, make)


def checked(where: str, content: Mapping[str, Any], make: Callable[[dict[str, Any]], Made]) -> Made:
    """What `make` makes of it. Raises InputError where a key is missing or holds something else."""
    try:
        return make(dict(content))
    except KeyError as error:
        raise InputError(f"{where}: the key {error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{where}: {str(error)[:120]}") from error


def _line_of(error: Exception) -> str:
    return f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""

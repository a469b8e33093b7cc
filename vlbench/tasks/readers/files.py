"""Reads the files of data sets under the names that their publishers gave them, with errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from vlbench.errors import InputError

Value = TypeVar("Value")
FOLDERS = ("", "annotations", "questions", "data")


class MissingFileError(InputError):
    """A file does not exist, rather than being damaged."""


def find_file(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that exists in the folder or in one of FOLDERS within it.

    Raises MissingFileError if none does.
    """
    if not folder.is_dir():
        raise MissingFileError(f"--data {folder}: no such folder")
    for name in names:
        for subfolder in FOLDERS:
            path = folder / subfolder / name
            if path.is_file():
                return path
    raise MissingFileError(f"--data {folder}: holds no {' or '.join(names)}")


def find_folder(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these folders that exists; the first of all if none does, so that an error can name it."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def read_text(path: Path, *, option: str = "") -> str:
    """Raises InputError if the file cannot be read as text.

    Args:
        option: begins the error, such as "--answers ".
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{option}{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{option}{path}: not a text file in UTF-8") from error


def read_json(path: Path) -> Any:
    """Raises InputError if the file cannot be read as JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = f" line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{line}: not JSON; cut off or damaged, fetch it again") from error


def read_lines(path: Path, convert: Callable[[dict[str, Any]], Value]) -> list[Value]:
    """`convert` of the JSON object in each line. Raises InputError with the line's number if that fails."""
    return list(_converted(path, read_text(path).splitlines(), convert))


def _converted(path: Path, lines: list[str], convert: Callable[[dict[str, Any]], Value]) -> Iterator[Value]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not JSON; cut off or damaged, fetch the file again") from error
        yield checked(where, content if isinstance(content, dict) else {}, convert)


def checked(where: str, content: Mapping[str, Any], convert: Callable[[dict[str, Any]], Value]) -> Value:
    """`convert` of the content. Raises InputError if that misses a key or finds a value of the wrong type.

    Args:
        where: begins the error.
    """
    try:
        return convert(dict(content))
    except KeyError as error:
        raise InputError(f"{where}: the key {error} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"{where}: {str(error)[:120]}") from error

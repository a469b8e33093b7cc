"""Results on disk: `cells.jsonl` and `suppressions.jsonl`, one line a cell, only ever added to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.running.cells import SCHEMA, Result
from vlbench.running.suppressions import SUPPRESSIONS, SuppressionResult

CELLS = "cells.jsonl"
Line = TypeVar("Line", Result, SuppressionResult)


class Store(Generic[Line]):
    """One file of a results folder. Raises InputError where it cannot be written or holds what is not vlbench's."""

    def __init__(self, folder: Path, kind: type[Line]) -> None:
        self.folder = folder
        self.path = folder / (CELLS if kind is Result else SUPPRESSIONS)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8"):
                pass
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        self.results: list[Line] = _read_lines(self.path, kind)

    def add(self, result: Line) -> None:
        """Appends one line and waits until it is on the disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(result.to_line() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.results.append(result)


def read_results(folder: Path) -> list[Result]:
    """All results of a folder, in the order measured. Raises InputError, naming file and line, where one is damaged."""
    path = folder / CELLS
    if not path.is_file():
        raise InputError(f"{folder}: no {CELLS} here; name a folder that vlbench run wrote")
    return _read_lines(path, Result)


def _read_lines(path: Path, kind: type[Line]) -> list[Line]:
    results: list[Line] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
            results.append(kind.model_validate(_upgraded(content, f"{path} line {number}")))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number}: not JSON; cut off or damaged, delete the line to go on") from error
        except ValidationError as error:
            key = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise InputError(f"{path} line {number}: {key}: {error.errors()[0]['msg']}") from error
    return results


def _upgraded(content: Any, where: str) -> dict[str, Any]:
    """A line of this schema or of schema 1, which also told how often RoI pooling and NMS ran while counting."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema == 1:
        return {key: value for key, value in content.items() if key != "uncounted_operators"} | {"schema": SCHEMA}
    if schema != SCHEMA:
        raise InputError(f"{where}: schema {schema}; this vlbench reads schemas 1 and {SCHEMA}")
    return content

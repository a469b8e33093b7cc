"""Results on disk: `cells.jsonl`, one line a cell, only ever added to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.running.cells import SCHEMA, Result

CELLS = "cells.jsonl"


class Store:
    """A results folder. Raises InputError where it cannot be written or holds what is not vlbench's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / CELLS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8"):
                pass
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        self.results = read_results(folder)

    def add(self, result: Result) -> None:
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
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
            if not isinstance(content, dict) or content.get("schema") != SCHEMA:
                found = content.get("schema") if isinstance(content, dict) else None
                raise InputError(f"{path} line {number}: schema {found}; this vlbench reads schema {SCHEMA}")
            results.append(Result.model_validate(content))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} line {number}: not JSON; cut off or damaged, delete the line to go on") from error
        except ValidationError as error:
            key = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise InputError(f"{path} line {number}: {key}: {error.errors()[0]['msg']}") from error
    return results

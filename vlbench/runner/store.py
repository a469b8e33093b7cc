"""Results on disk: `cells.jsonl`, `suppressions.jsonl` and `evaluations.jsonl`, one line per result.

Whole lines are appended, never changed. Until a cell is finished, a journal in the same folder keeps its restarts.
`vlbench.runner.peaks` adds the peaks of the machine.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from vlbench.console import print_error
from vlbench.errors import InputError
from vlbench.measure.machine import Machine
from vlbench.runner.nms_records import SUPPRESSIONS, SuppressionResult
from vlbench.runner.records import EVALUATIONS, Evaluation, Result
from vlbench.runner.schemas import ResultLine, check_schema


def append_line(file: BinaryIO, line: str) -> None:
    """Appends a line to a file that is open for appending without a buffer, and waits until it is on the disk.

    Raises OSError, with the file's name, if that fails; the file is then as it was before.
    """
    content = line.encode() + b"\n"
    before = os.fstat(file.fileno()).st_size
    try:
        written = 0
        while written < len(content):
            written += os.write(file.fileno(), content[written:])
        os.fsync(file.fileno())
    except OSError as error:
        os.ftruncate(file.fileno(), before)
        raise OSError(error.errno, error.strerror, file.name) from error


def cut_off_fragment(path: Path) -> Path | None:
    """Moves an incomplete last line, as a power cut or a full disk leaves it, to a second file, and returns its path.

    A line that only lacks its newline gets one. Returns None if no line was moved.
    """
    content = path.read_bytes() if path.is_file() else b""
    if not content or content.endswith(b"\n"):
        return None
    whole, _, fragment = content.rpartition(b"\n")
    try:
        json.loads(fragment)
    except ValueError:
        aside = path.with_name(path.name + ".cut-off")
        with aside.open("ab", buffering=0) as file:
            append_line(file, fragment.decode(errors="replace"))
        os.truncate(path, len(whole) + 1 if whole else 0)
        return aside
    with path.open("ab", buffering=0) as file:
        append_line(file, "")
    return None


CELLS, PEAKS = "cells.jsonl", "peaks.jsonl"
FILES: dict[type[BaseModel], str] = {Result: CELLS, SuppressionResult: SUPPRESSIONS, Evaluation: EVALUATIONS}
Line = TypeVar("Line", bound=Result | SuppressionResult | Evaluation)
Model = TypeVar("Model", bound=BaseModel)
Measured = TypeVar("Measured", bound=Result | SuppressionResult)  # of a cell


class UnfinishedRestart(ResultLine):
    """A restart of a cell that is not finished: a line of the journal."""

    cell_hash: str
    machine: Machine
    restart: dict[str, Any]


def warn(message: str) -> None:
    """Prints a message for the user on standard error."""
    print_error(str(message))


class MemoryStore(Generic[Line]):
    """Results that are kept nowhere but in memory."""

    def __init__(self) -> None:
        self.results: list[Line] = []

    def add(self, result: Line) -> None:
        """Keeps one result."""
        self.results.append(result)

    def keep_restart(self, cell_hash: str, machine: Machine, restart: Any) -> None:
        """Does nothing: a cell that is interrupted is lost."""

    def restarts(self, cell_hash: str, machine: Machine) -> list[dict[str, Any]]:
        """None."""
        return []

    def drop_journal(self) -> None:
        """Does nothing: there is no journal."""


class Store(MemoryStore[Line]):
    """One file of a results folder, locked against other writers until `close`.

    Raises InputError if it cannot be written, another process writes to it, or a file of the folder has another schema
    or is not vlbench's. All files are then as they were.
    """

    def __init__(self, folder: Path, kind: type[Line]) -> None:
        check_schemas(folder)
        self.folder = folder
        self.path = folder / FILES[kind]
        self.journal_path = _journal(self.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InputError(f"--out {folder}: another vlbench writes there; wait for it or name another") from error
        for path in (self.path, self.journal_path):
            kept = cut_off_fragment(path)
            if kept:
                warn(f"{path}: its last line was cut off in the middle; moved to {kept.name}, the others are kept")
        super().__init__()
        self.results += read_lines(self.path, kind)
        self.journal = [entry for line in _lines(self.journal_path) if (entry := _entry(line))]

    def add(self, result: Line) -> None:
        """Appends one line and waits until it is on the disk. If that fails, raises OSError and leaves the file as it
        was."""
        append_line(self.file, result.to_line())
        self.results.append(result)

    def keep_restart(self, cell_hash: str, machine: Machine, restart: Any) -> None:
        """Appends a restart of an unfinished cell to the journal, so that it need not be measured again."""
        entry = UnfinishedRestart(cell_hash=cell_hash, machine=machine, restart=restart.model_dump(mode="json"))
        with self.journal_path.open("ab", buffering=0) as file:
            append_line(file, entry.to_line())

    def restarts(self, cell_hash: str, machine: Machine) -> list[dict[str, Any]]:
        """The restarts that an earlier, unfinished run on this machine left in the journal."""
        return [
            entry.restart
            for entry in self.journal
            if entry.cell_hash == cell_hash and entry.machine.same_hardware_and_software(machine)
        ]

    def drop_journal(self) -> None:
        """Deletes the journal, once every restart is part of a result."""
        self.journal_path.unlink(missing_ok=True)
        self.journal = []

    def close(self) -> None:
        """Releases the lock."""
        self.file.close()


def _journal(path: Path) -> Path:
    return path.with_suffix(".unfinished.jsonl")


def check_schemas(folder: Path) -> None:
    """Raises InputError, naming file and line, if a file of results holds a line of another schema.

    Lines without a schema are left to those who read them.
    """
    paths = [folder / name for name in (*FILES.values(), PEAKS)]
    for path in (*paths, *map(_journal, paths)):
        for number, line in enumerate(_lines(path), start=1):
            content = _parsed(line)
            if isinstance(content, dict) and isinstance(content.get("schema"), int):
                check_schema(content, f"{path} line {number}")


def _parsed(line: str) -> Any:
    """The content of a line; None if it is not JSON."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _entry(line: str) -> UnfinishedRestart | None:
    """A line of the journal; None if it is cut off or another program wrote it, as it can be measured again."""
    try:
        return UnfinishedRestart.model_validate_json(line)
    except ValidationError:
        return None


def read_results(folder: Path, warn: Callable[[str], None] = warn) -> list[Result]:
    """All results of a folder, in the order measured. A last line that was cut off is left out with a warning.

    Raises InputError, naming file and line, if another line is damaged.
    """
    path = folder / CELLS
    if not path.is_file():
        raise InputError(f"{folder}: no {CELLS} here; name a folder that vlbench run wrote")
    return read_lines(path, Result, warn)


def read_evaluations(folder: Path, warn: Callable[[str], None] = warn) -> list[Evaluation]:
    """The latest evaluation of each model, task and split, in the order first made; none if there is no file."""
    lines = read_lines(folder / EVALUATIONS, Evaluation, warn)
    latest = {line.evaluation_hash: line for line in lines}.values()
    return list({(line.spec_hash, line.accuracy.task, line.accuracy.split): line for line in latest}.values())


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_lines(path: Path, kind: type[Model], warn: Callable[[str], None] = warn) -> list[Model]:
    """The lines of a file of a results folder; none without a file.

    A last line that was cut off is left out with a warning. Raises InputError, naming file and line, if another line
    is damaged or of another schema.
    """
    results: list[Model] = []
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        where = f"{path} line {number}"
        try:
            content = from_json(line)
            check_schema(content, where)
            results.append(kind.model_validate(content))
        except ValidationError as error:
            key = ".".join(str(step) for step in error.errors()[0]["loc"])
            raise InputError(f"{where}: {key}: {error.errors()[0]['msg']}") from error
        except ValueError as error:
            if number == len(lines):
                warn(f"{where}: cut off in the middle and left out; the others are kept")
                return results
            raise InputError(f"{where}: not JSON; cut off or damaged, delete the line to go on") from error
    return results

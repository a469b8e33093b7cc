"""Results on disk: `cells.jsonl`, `suppressions.jsonl` and `evaluations.jsonl`, one line per result.

Whole lines are appended, never changed. Until a cell is finished, a journal in the same folder keeps its restarts.
`vlbench.runner.peaks` adds the peaks of the machine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.files.json_files import parse_json
from vlbench.measuring.machine import Machine
from vlbench.runner.nms_records import SuppressionResult
from vlbench.runner.reader import FILES, check_schemas, existing_lines, journal_of, read_lines, warn
from vlbench.runner.records import Evaluation, Result, UnsampledResult
from vlbench.runner.schemas import ResultLine


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
    start, fragment = _last_line(path) if path.is_file() else (0, b"")
    if not fragment or fragment.endswith(b"\n"):
        return None
    try:
        parse_json(fragment, "")
    except InputError:
        aside = path.with_name(path.name + ".cut-off")
        with aside.open("ab", buffering=0) as file:
            append_line(file, fragment.decode(errors="replace"))
        os.truncate(path, start)
        return aside
    with path.open("ab", buffering=0) as file:
        append_line(file, "")
    return None


def _last_line(path: Path) -> tuple[int, bytes]:
    """Where it starts, and its bytes with their newline."""
    with path.open("rb") as file:
        start, line = 0, b""
        while following := file.readline():
            start, line = start + len(line), following
    return start, line


Line = TypeVar("Line", bound=Result | SuppressionResult | Evaluation)
Measured = TypeVar("Measured", bound=Result | SuppressionResult)  # of a cell


class UnfinishedRestart(ResultLine):
    """A restart of a cell that is not finished: a line of the journal."""

    cell_hash: str
    machine: Machine
    restart: dict[str, Any]


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


KEPT: dict[type[ResultLine], Any] = {Result: UnsampledResult}  # what of a line stays in memory


class Store(MemoryStore[Line]):
    """One file of a results folder, locked against other writers until `close`. `results` have no samples.

    Raises InputError if it cannot be written, another process writes to it, or a file of the folder has another schema
    or is not vlbench's. All files are then as they were.
    """

    def __init__(self, folder: Path, kind: type[Line]) -> None:
        check_schemas(folder)
        self.folder = folder
        self.path = folder / FILES[kind]
        self.journal_path = journal_of(self.path)
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
        self._kept: Any = KEPT.get(kind, kind)
        self.results += read_lines(self.path, self._kept)
        self.journal = list(_unfinished(self.journal_path))

    def add(self, result: Line) -> None:
        """Appends one line and waits until it is on the disk. If that fails, raises OSError and leaves the file as it
        was."""
        line = result.to_line()
        append_line(self.file, line)
        self.results.append(self._kept.model_validate_json(line))

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


def _unfinished(path: Path) -> Iterator[UnfinishedRestart]:
    """The lines of a journal, without those that are cut off or that another program wrote: they are measured again."""
    for _, line in existing_lines(path):
        with suppress(ValidationError):
            yield UnfinishedRestart.model_validate_json(line)

"""What was predicted before a kill: a file a process, deleted once the predictions are written as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vlbench.errors import InputError
from vlbench.running.lines import append_line, cut_off_fragment


class Journal:
    """The predictions of one evaluation so far, by item.

    All processes of an evaluation read what any of an earlier attempt left, and each writes a file of its own.

    Args:
        folder: of the results; made if it is not there.
        name: of the evaluation, with a hash of everything that a prediction depends on.
        rank: of this process.
    """

    def __init__(self, folder: Path, name: str, rank: int) -> None:
        self.pattern = f"{name}.process-*.unfinished.jsonl"
        self.folder = folder
        self.path = folder / f"{name}.process-{rank}.unfinished.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            cut_off_fragment(self.path)
            self.file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        self.done = self.read()

    def keep(self, predictions: Mapping[str, str]) -> None:
        """Appends them and waits until they are on the disk."""
        append_line(self.file, json.dumps(dict(predictions)))
        self.done.update(predictions)

    def read(self) -> dict[str, str]:
        """What all processes have kept."""
        found: dict[str, str] = {}
        for path in sorted(self.folder.glob(self.pattern)):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found.update(json.loads(line))
                except ValueError:  # cut off by a kill; predicted again
                    continue
        return found

    def close(self) -> None:
        self.file.close()

    def drop(self) -> None:
        """Deletes the files of all processes."""
        for path in self.folder.glob(self.pattern):
            path.unlink(missing_ok=True)

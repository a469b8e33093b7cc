"""Passes over the items of a data set, batch by batch. Each batch is kept as it comes, in a journal per process that is
deleted once all predictions are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest
from vlbench.evaluation.inputs import batches
from vlbench.evaluation.processes import Process
from vlbench.evaluation.task_head import Postprocess
from vlbench.runner.store import append_line, cut_off_fragment
from vlbench.tasks.items import Item


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


def predict(
    candidate: ModelUnderTest,
    items: Sequence[Item],
    postprocess: Postprocess,
    journal: Journal,
    *,
    batch: int,
    workers: int = 0,
    process: Process | None = None,
    listen: Callable[[int], None] = lambda _: None,
) -> int:
    """Asks the model about each item that the journal lacks, and keeps its answers there.

    Batches are the same whatever the number of processes and whatever was done before, and so are the answers.

    Returns:
        how many items this process asked about.

    Raises:
        InputError: an image or a feature that cannot be read, or a model that gives no numbers; what came before is
            kept.

    Args:
        postprocess: turns the scores of a batch into one answer per row.
        batch: items in one pass.
        workers: processes that read images; 0 reads them between passes.
        listen: is told of items as they are answered.
    """
    whole = [items[start : start + batch] for start in range(0, len(items), batch)]
    own = (process or Process()).share(whole)
    missing = [one for one in own if any(item.identifier not in journal.done for item in one)]
    listen(sum(map(len, own)) - sum(map(len, missing)))
    asked = 0
    for prepared in batches(missing, candidate.encoder, workers=workers):
        answers = postprocess(candidate.scores(prepared))
        journal.keep({item.identifier: answer for item, answer in zip(prepared.items, answers, strict=True)})
        asked += len(answers)
        listen(len(answers))
    return asked


def with_images(items: Sequence[Item], images: Mapping[tuple[Path, ...], tuple[Path, ...]]) -> list[Item]:
    """The same items with other images."""
    return [replace(item, images=images[item.images]) for item in items]

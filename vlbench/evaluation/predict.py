"""Predicts the items of a data set, batch by batch. After each batch, its predictions are added to a journal, one file
per process, which is deleted once all predictions are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from vlbench.errors import InputError
from vlbench.evaluation.adapter import ModelUnderTest
from vlbench.evaluation.inputs import batches
from vlbench.evaluation.processes import Process
from vlbench.evaluation.task_head import Postprocess
from vlbench.files.json_files import json_line
from vlbench.files.text import read_byte_lines
from vlbench.runner.store import append_line, cut_off_fragment
from vlbench.tasks.items import Item

ANSWERS = TypeAdapter(dict[str, str])


class Journal:
    """The predictions of an unfinished evaluation, by item.

    Every process reads the files that all processes of an earlier attempt left, and writes a file of its own.

    Args:
        folder: of the results; created if it does not exist.
        name: of the evaluation, with a hash of everything that a prediction depends on.
        rank: of this process.
    """

    def __init__(self, folder: Path, name: str, rank: int) -> None:
        self.pattern = f"{name}.process-*.unfinished.jsonl"
        self.folder = folder
        self.path = folder / f"{name}.process-{rank}.unfinished.jsonl"
        self.done = self.read()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            cut_off_fragment(self.path)
            self.file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error

    def append(self, predictions: Mapping[str, str]) -> None:
        """Adds predictions, and waits until they are on the disk."""
        append_line(self.file, json_line(dict(predictions)))
        self.done.update(predictions)

    def read(self) -> dict[str, str]:
        """The predictions of all processes."""
        predictions: dict[str, str] = {}
        for path in sorted(self.folder.glob(self.pattern)):
            for _, line in read_byte_lines(path):
                with suppress(ValidationError):  # cut off by a kill; predicted again
                    predictions.update(ANSWERS.validate_json(line))
        return predictions

    def close(self) -> None:
        self.file.close()

    def delete(self) -> None:
        """Deletes the files of all processes."""
        for path in self.folder.glob(self.pattern):
            path.unlink(missing_ok=True)


def predict(
    model: ModelUnderTest,
    items: Sequence[Item],
    postprocess: Postprocess,
    journal: Journal,
    *,
    batch_size: int,
    workers: int = 0,
    process: Process | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Predicts each item that the journal lacks, and adds the prediction to it.

    Batches, and so predictions, do not depend on the number of processes or on what an earlier attempt did.

    Returns:
        how many items this process predicted.

    Raises:
        InputError: an image or its regions cannot be read, or a score is not finite; earlier predictions are kept.

    Args:
        postprocess: turns the scores of a batch into one answer per row.
        workers: data-loading processes; 0 loads in this process.
        on_progress: called with the number of items done since the last call.
    """
    chunks = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    share = (process or Process()).share(chunks)
    missing = [chunk for chunk in share if any(item.identifier not in journal.done for item in chunk)]
    on_progress(sum(map(len, share)) - sum(map(len, missing)))
    predicted = 0
    for batch in batches(missing, model.encoder, workers=workers, pinned=model.device.type == "cuda"):
        answers = postprocess(model.scores(batch))
        journal.append({item.identifier: answer for item, answer in zip(batch.items, answers, strict=True)})
        predicted += len(answers)
        on_progress(len(answers))
    return predicted


def with_images(items: Sequence[Item], images: Mapping[tuple[Path, ...], tuple[Path, ...]]) -> list[Item]:
    """The same items with other images: `images` maps each item's images to the new ones."""
    return [replace(item, images=images[item.images]) for item in items]

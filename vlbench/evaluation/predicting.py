"""Passes over the items of a data set, batch by batch, each kept as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlbench.evaluation.candidate import Candidate
from vlbench.evaluation.inputs import batches
from vlbench.evaluation.journal import Journal
from vlbench.evaluation.processes import Process
from vlbench.evaluation.question import Decide
from vlbench.tasks.items import Item


def predict(
    candidate: Candidate,
    items: Sequence[Item],
    decide: Decide,
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
        decide: the answers that a batch's scores mean, one a row.
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
        answers = decide(candidate.scores(prepared))
        journal.keep({item.identifier: answer for item, answer in zip(prepared.items, answers, strict=True)})
        asked += len(answers)
        listen(len(answers))
    return asked


def with_images(items: Sequence[Item], images: Mapping[tuple[Path, ...], tuple[Path, ...]]) -> list[Item]:
    """The same items with other images."""
    return [replace(item, images=images[item.images]) for item in items]

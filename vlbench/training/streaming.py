"""Which samples each step, process and micro-batch sees, and the processes that prepare them ahead of time."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from vlbench.errors import InputError
from vlbench.evaluation.loading import Refused, loaded, unchanged
from vlbench.evaluation.processes import Process
from vlbench.training.budget import Spent
from vlbench.training.learner import Stream
from vlbench.training.settings import TrainingSettings

AHEAD = 3  # micro-batches that each worker keeps ready

Range = tuple[int, int]  # first sample, how many


def batch_at(spent: Spent, settings: TrainingSettings) -> Range:
    """The samples of the next step, over all processes; the last step of a budget of samples takes what is left."""
    left = int(settings.budget.amount) - spent.samples if settings.budget.kind == "samples" else settings.batch
    return spent.samples, min(settings.batch, left)


def shares(whole: Range, parts: int) -> list[Range]:
    """A range cut into consecutive ones whose counts differ by one at the most; some are empty if there are too few."""
    start, count = whole
    bounds = [start + count * part // parts for part in range(parts + 1)]
    return [(low, high - low) for low, high in pairwise(bounds)]


def micro_batches(whole: Range, settings: TrainingSettings, process: Process) -> list[Range]:
    """What this process computes of a step, piece by piece; the pieces of all processes together are the step."""
    own = shares(whole, process.world)[process.rank]
    return [piece for piece in shares(own, settings.accumulate) if piece[1]]


def stream_batches(
    stream: Stream, spent: Spent, settings: TrainingSettings, process: Process, *, pinned: bool
) -> Generator[Any, None, None]:
    """The batches of all micro-batches to come, in order, the same whatever the number of workers.

    Raises InputError where the stream does, after the batches before; WorkerError where a worker is killed.

    Args:
        pinned: whether they are put where a GPU can fetch them itself.
    """
    workers = settings.workers
    loader: DataLoader[Any] = DataLoader(
        _Prepared(stream),
        batch_size=None,
        sampler=_Wanted(spent, settings, process),
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        collate_fn=unchanged,
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # of its own, so that it takes nothing from the global one
        pin_memory=pinned,
    )
    yield from loaded(loader, prepares="prepares batches")


class _Wanted:
    """The ranges of all micro-batches from a step on, without an end unless samples are counted."""

    def __init__(self, spent: Spent, settings: TrainingSettings, process: Process) -> None:
        self.spent, self.settings, self.process = spent, settings, process

    def __iter__(self) -> Iterator[Range]:
        spent = self.spent
        while True:
            whole = batch_at(spent, self.settings)
            if not whole[1]:
                return
            yield from micro_batches(whole, self.settings, self.process)
            spent = spent.plus(Spent(samples=whole[1], steps=1))


class _Prepared(Dataset):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def __getitem__(self, wanted: Range) -> Any:
        try:
            return self.stream.batch(*wanted)
        except InputError as error:
            return Refused(message=str(error))


def _leave_interrupts(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains ends its workers when it is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

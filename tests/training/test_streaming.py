"""Steps see the same samples whatever the processes, micro-batches and workers."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from tests.training.learners import Classifier, Examples, network, settings
from vlbench.errors import InputError
from vlbench.evaluation.processes import Process
from vlbench.training.budget import Spent
from vlbench.training.learner import TrainingSettings
from vlbench.training.loop import train
from vlbench.training.samples import batch_at, divided, micro_batches, stream_batches


@pytest.mark.parametrize(("count", "parts"), [(10, 4), (8, 2), (3, 5), (1, 1)])
def test_shares_are_even_and_complete(count: int, parts: int) -> None:
    cut = divided((100, count), parts)
    assert [index for start, length in cut for index in range(start, start + length)] == [*range(100, 100 + count)]
    lengths = [length for _, length in cut]
    assert len(cut) == parts
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_processes_share_the_samples_of_a_step(world: int, accumulate: int) -> None:
    run_settings = settings(batch=10, accumulate=accumulate, budget="25")
    for begun, expected in ((0, range(10)), (20, range(20, 25))):  # the last step takes what is left
        whole = batch_at(Spent(samples=begun), run_settings)
        pieces = [micro_batches(whole, run_settings, Process(rank=rank, world=world)) for rank in range(world)]
        seen = [index for share in pieces for start, count in share for index in range(start, start + count)]
        assert seen == [*expected]


def taken(run_settings: TrainingSettings, begun: int, count: int) -> list[torch.Tensor]:
    batches = stream_batches(Examples(seed=3), Spent(samples=begun), run_settings, Process(), pinned=False)
    return [values for values, _ in islice(batches, count)]


def test_seeds_and_workers_give_identical_batches() -> None:
    run_settings = {workers: settings(workers=workers, accumulate=2, budget="1h") for workers in (0, 2)}
    alone, prepared = (taken(values, 0, 7) for values in run_settings.values())
    assert all(torch.equal(first, second) for first, second in zip(alone, prepared, strict=True))
    later = taken(run_settings[2], 16, 3)  # as after a resumption
    assert all(torch.equal(first, second) for first, second in zip(alone[4:], later, strict=True))
    assert not torch.equal(Examples(seed=3).batch(0, 4)[0], Examples(seed=4).batch(0, 4)[0])


def test_a_budget_of_samples_ends_exactly(tmp_path: Path) -> None:
    assert sum(map(len, taken(settings(budget="21"), 0, 99))) == 21
    trained = train(Classifier(network("linear")), Examples(), settings(budget="21"), tmp_path)
    assert (trained.spent.samples, trained.spent.steps) == (21, 3)


class Damaged:
    def batch(self, start: int, count: int) -> object:
        if start >= 16:
            raise InputError(f"image {start}: cut off")
        return Examples().batch(start, count)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_sample_raises_its_own_error(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match=r"^image 16: cut off$"):
        train(Classifier(network("linear")), Damaged(), settings(workers=workers), tmp_path)

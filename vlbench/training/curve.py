"""The course of training: means since the point before, in memory and in `training.jsonl`."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor, distributed

from vlbench.errors import InputError
from vlbench.evaluation.processes import Process
from vlbench.frozen import Frozen
from vlbench.runner.store import append_line
from vlbench.training.learner import Losses

CURVE = "training.jsonl"


class CurvePoint(Frozen):
    """A line of `training.jsonl`: what the samples since the line before came to, over all processes.

    Attributes:
        samples, steps, seconds: since the beginning; the wall clock of training alone, times before a kill included.
        loss: what is minimised, the mean over samples; `parts` of it unweighted, over the samples that have them.
        accuracy: share of `asked` answers that were right, in training mode; None where nothing was asked.
        gradient_norm: before it is clipped, mean over steps.
        learning_rate: of the last step.
    """

    samples: int
    steps: int
    seconds: float
    loss: float
    parts: dict[str, float]
    accuracy: float | None
    asked: int
    gradient_norm: float
    learning_rate: float
    samples_per_second: float


class Tally:
    """Sums and weights of what is averaged until the next point, on the device, so that no step waits for it.

    `loss`, `gradient_norm`, `accuracy`, and `parts.NAME` each.
    """

    def __init__(self, kept: Mapping[str, Sequence[float]] | None = None) -> None:
        self.sums: dict[str, Tensor | float] = {name: one[0] for name, one in (kept or {}).items()}
        self.weights: dict[str, float] = {name: one[1] for name, one in (kept or {}).items()}

    def add(self, name: str, total: Tensor, weight: float) -> None:
        """`total` is a sum over `weight` things, ()."""
        self.sums[name] = self.sums.get(name, 0.0) + total.detach().double()
        self.weights[name] = self.weights.get(name, 0.0) + weight

    def add_losses(self, losses: Losses, samples: int) -> None:
        self.add("loss", losses.total.detach().double() * samples, samples)
        for name, part in losses.parts.items():
            self.add(f"parts.{name}", part.detach().double() * samples, samples)
        if losses.right is not None and losses.asked:
            self.add("accuracy", losses.right, losses.asked)

    def kept(self) -> dict[str, tuple[float, float]]:
        """Name -> (sum, weight), as plain numbers of full precision."""
        return {name: (float(total), self.weights[name]) for name, total in self.sums.items()}

    def together(self, process: Process) -> Tally:
        """The sums over all processes, in all of them."""
        own = self.kept()
        if process.world == 1:
            return Tally(own)
        all_own: list[dict[str, tuple[float, float]] | None] = [None] * process.world
        distributed.all_gather_object(all_own, own)
        found = Tally()
        for one in filter(None, all_own):
            for name, (total, weight) in one.items():
                found.add(name, torch.tensor(total, dtype=torch.float64), weight)
        return found

    def means(self) -> dict[str, float]:
        return {name: total / weight for name, (total, weight) in self.kept().items()}


def parts_of(means: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("parts."): mean for name, mean in means.items() if name.startswith("parts.")}


def check_finite(means: Mapping[str, float], *, steps: int) -> None:
    """Raises InputError where a loss or the gradient is no number any more."""
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise InputError(
                f"training broke before step {steps}: {name.replace('_', ' ')} is no finite number; a lower learning "
                "rate or fp32 works"
            )


class Curve:
    """`training.jsonl` of a folder, held against other processes that would train there.

    Raises InputError where it cannot be written or another process trains there.

    Args:
        folder: made if it is not there.
        writes: whether this process does; the others do nothing.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.path = folder / CURVE
        self.file: BinaryIO | None = None
        if not writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        try:  # of the process itself: the workers of one that was killed do not hold it
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InputError(f"--out {folder}: another process trains there; wait for it or name another") from error

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file:
            self.file.close()

    def begin(self, history: Sequence[CurvePoint]) -> None:
        """Leaves these points in the file and no other: what came after a checkpoint is trained again."""
        if self.file:
            self.file.truncate(0)
            for point in history:
                self.file.write(point.model_dump_json().encode() + b"\n")

    def add(self, point: CurvePoint) -> None:
        if self.file:
            append_line(self.file, point.model_dump_json())

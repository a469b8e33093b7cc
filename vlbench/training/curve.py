"""The training curve: means over the steps since the last point, in memory and in `training.jsonl`."""

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
from vlbench.files.text import check_regular
from vlbench.frozen import Frozen
from vlbench.runner.store import append_line
from vlbench.training.learner import Losses

CURVE = "training.jsonl"


class CurvePoint(Frozen):
    """A line of `training.jsonl`: means over the samples since the line before, over all processes.

    Attributes:
        samples, steps, seconds: since training began. `seconds` is wall-clock time of training only, including the time
            before a kill.
        loss: what is minimised, the mean over samples.
        loss_by_term: the losses that it consists of, unweighted, each over the samples that have it.
        accuracy: share of `questions` answered correctly, in training mode; None without questions.
        gradient_norm: before clipping, mean over steps.
        learning_rate: of the last step.
        waiting_share: of the seconds, spent waiting for data; None in curves of older versions.
    """

    samples: int
    steps: int
    seconds: float
    loss: float
    loss_by_term: dict[str, float]
    accuracy: float | None
    questions: int
    gradient_norm: float
    learning_rate: float
    samples_per_second: float
    waiting_share: float | None = None


Total = tuple[float, float]  # a sum and its weight


class RunningMeans:
    """Weighted sums of `loss`, `gradient_norm`, `accuracy`, `waiting_share` and each `parts.NAME` since the last point.

    Sums stay on the device, so that no step waits for it.

    Args:
        totals: to start from, by name.
    """

    def __init__(self, totals: Mapping[str, Total] | None = None) -> None:
        self.sums: dict[str, Tensor | float] = {name: total for name, (total, _) in (totals or {}).items()}
        self.weights: dict[str, float] = {name: weight for name, (_, weight) in (totals or {}).items()}

    def add(self, name: str, total: Tensor, weight: float) -> None:
        """Adds a sum, (), over `weight` values."""
        self.sums[name] = self.sums.get(name, 0.0) + total.detach().double()
        self.weights[name] = self.weights.get(name, 0.0) + weight

    def add_losses(self, losses: Losses, samples: int) -> None:
        self.add("loss", losses.total.detach().double() * samples, samples)
        for name, part in losses.parts.items():
            self.add(f"parts.{name}", part.detach().double() * samples, samples)
        if losses.correct is not None and losses.questions:
            self.add("accuracy", losses.correct, losses.questions)

    def totals(self) -> dict[str, Total]:
        """The sums and weights by name, as Python floats."""
        return {name: (float(total), self.weights[name]) for name, total in self.sums.items()}

    def over_all_processes(self, process: Process) -> RunningMeans:
        """The sums over all processes; every process gets them."""
        totals = self.totals()
        if process.world == 1:
            return RunningMeans(totals)
        gathered: list[dict[str, Total] | None] = [None] * process.world
        distributed.all_gather_object(gathered, totals)
        means = RunningMeans()
        for of_process in filter(None, gathered):
            for name, (total, weight) in of_process.items():
                means.add(name, torch.tensor(total, dtype=torch.float64), weight)
        return means

    def means(self) -> dict[str, float]:
        return {name: total / weight for name, (total, weight) in self.totals().items()}


def parts_of(means: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("parts."): mean for name, mean in means.items() if name.startswith("parts.")}


def check_finite(means: Mapping[str, float], *, steps: int) -> None:
    """Raises InputError where a loss or the gradient is not finite."""
    for name, mean in means.items():
        if not math.isfinite(mean):
            raise InputError(
                f"training failed before step {steps}: {name.replace('_', ' ')} is not finite; a lower learning rate "
                "or fp32 works"
            )


class CurveFile:
    """`training.jsonl` of a folder, locked against other processes that would train there.

    Raises InputError where it cannot be written or another process trains there.

    Args:
        folder: created if missing.
        writes: whether this process writes; in the others every method does nothing.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.path = folder / CURVE
        self.file: BinaryIO | None = None
        if not writes:
            return
        if self.path.exists():  # opening a pipe would wait for its reader
            check_regular(self.path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(f"--out {folder}: cannot be written ({error.strerror}); name another folder") from error
        try:  # a lock of this process alone: its workers can outlive it, and must not hold the lock
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise InputError(f"--out {folder}: another process trains there; wait for it or name another") from error

    def __enter__(self) -> CurveFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.file:
            self.file.close()

    def begin(self, history: Sequence[CurvePoint]) -> None:
        """Replaces the file's points by those of the checkpoint; what came after it is trained again."""
        if self.file:
            self.file.truncate(0)
            for point in history:
                self.file.write(point.model_dump_json(ensure_ascii=True).encode() + b"\n")

    def add(self, point: CurvePoint) -> None:
        if self.file:
            append_line(self.file, point.model_dump_json(ensure_ascii=True))

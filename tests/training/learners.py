"""Tiny learners and streams given by formulas, and a command that trains them in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.evaluation.processes import Process, joined_processes
from vlbench.training.budget import parse_budget
from vlbench.training.learner import Losses, TrainingSettings
from vlbench.training.loop import TrainingResult, train

WIDTH, CLASSES = 6, 3
OF_TIME = {"seconds", "samples_per_second", "waiting_share"}  # of a point of the curve


@dataclass(frozen=True)
class Examples:
    """Sample i: six numbers, and as the class the index of the greatest of the first three."""

    seed: int = 0
    epoch: int | None = None  # after so many samples they repeat

    def batch(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        rows = [self._row(index % self.epoch if self.epoch else index) for index in range(start, start + count)]
        values_BD = torch.stack(rows)
        return values_BD, values_BD[:, :CLASSES].argmax(1)

    def _row(self, index: int) -> Tensor:
        return torch.randn(WIDTH, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + index))


class Classifier:
    """Cross-entropy; `noisy` adds noise from the generator, and each pass sleeps for `seconds`."""

    def __init__(self, module: nn.Module, *, noisy: bool = False, seconds: float = 0.0) -> None:
        self.module, self.noisy, self.seconds = module, noisy, seconds
        self.drawn: list[float] = []

    def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        values_BD, classes_B = batch
        time.sleep(self.seconds)
        noise = torch.randn(values_BD.shape, generator=generator) if self.noisy else torch.zeros(())
        self.drawn.append(float(noise.flatten()[0]))
        logits_BC = self.module(values_BD + 0.1 * noise).float()
        loss = F.cross_entropy(logits_BC, classes_B)
        correct = (logits_BC.argmax(1) == classes_B).sum()
        return Losses(total=loss, parts={"classes": loss}, correct=correct, questions=len(classes_B))


class Interrupting(Classifier):
    """Presses Ctrl-C during the passes with these numbers."""

    def __init__(self, module: nn.Module, passes: set[int], *, noisy: bool = False) -> None:
        super().__init__(module, noisy=noisy)
        self.passes = passes

    def losses(self, batch: tuple[Tensor, Tensor], generator: torch.Generator) -> Losses:
        losses = super().losses(batch, generator)
        if len(self.drawn) in self.passes:
            os.kill(os.getpid(), signal.SIGINT)
        return losses


def network(kind: Literal["linear", "dropout", "norm", "idle"]) -> nn.Module:
    torch.manual_seed(7)
    between = {"dropout": nn.Dropout(0.3), "norm": nn.BatchNorm1d(16)}.get(kind, nn.Identity())
    module = nn.Sequential(nn.Linear(WIDTH, 16), between, nn.Tanh(), nn.Linear(16, CLASSES))
    if kind == "idle":  # a parameter that nothing uses
        module.register_parameter("idle", nn.Parameter(torch.ones(2, 2)))
    return module


def settings(**values: object) -> TrainingSettings:
    """Eight samples per step, a fast optimiser, no workers."""
    budget = parse_budget(str(values.pop("budget", "20steps")))
    quick = {"batch": 8, "learning_rate": 1e-2, "workers": 0, "point_steps": 5}
    return TrainingSettings(**{"budget": budget, **quick, **values})


def digest(module: nn.Module) -> str:
    """A hash of every byte of the parameters and buffers."""
    tensors = module.state_dict()
    content = b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(content).hexdigest()


def course(trained: TrainingResult) -> list[dict]:
    """The curve's points without their times."""
    return [point.model_dump(exclude=OF_TIME) for point in trained.history]


def course_of(folder: Path) -> list[dict]:
    """The same, from the file."""
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in OF_TIME} for line in lines]


def main() -> None:
    """Each argument is a run in JSON: `{"folder": ..., "network": ..., "seconds": ..., "settings": {...}}`."""
    with joined_processes() as process:
        for job in map(json.loads, sys.argv[1:]):
            kind = job["network"]
            learner = Classifier(network(kind), noisy=kind == "dropout", seconds=job.get("seconds", 0.0))
            train(learner, Examples(), settings(**job["settings"]), Path(job["folder"]), process=process)
            same = all_equal(digest(learner.module), process)
            if process.first:
                weights = {name: tensor.tolist() for name, tensor in learner.module.state_dict().items()}
                print(json.dumps({"same": same, "weights": weights}))


def all_equal(text: str, process: Process) -> bool:
    """Whether all processes have the same text."""
    number = int(text[:8], 16)
    greatest = torch.tensor([number, -number], dtype=torch.float64)
    if process.world > 1:
        torch.distributed.all_reduce(greatest, op=torch.distributed.ReduceOp.MAX)
    return greatest.tolist() == [number, -number]


if __name__ == "__main__":
    main()

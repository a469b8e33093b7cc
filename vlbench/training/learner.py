"""The interfaces of the training loop (a learner gives the losses of a batch, a stream gives the batches) and its
hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vlbench.frozen import Frozen
from vlbench.specs.bounds import Fraction, Seed
from vlbench.training.budget import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The losses of one micro-batch.

    Attributes:
        total: () float, what is minimised: the mean over the samples of the micro-batch.
        parts: () each, unweighted, by name; for progress and the curve. A batch need not have every name.
        correct: () number of questions answered correctly; None where there are no questions.
        questions: how many there were.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    correct: Tensor | None = None
    questions: int = 0


class Learner(Protocol):
    """A model with its objectives.

    `module` holds everything that is trained, including the heads of objectives, on the device where it is trained. The
    loop puts it into training mode once. A part that must stay in evaluation mode has to override `train`.
    """

    @property
    def module(self) -> nn.Module: ...

    def losses(self, batch: Any, generator: torch.Generator) -> Losses:
        """The losses of a batch from the stream, which is on the CPU; the learner moves it to the device.

        Random choices use `generator`, a CPU generator, or like dropout PyTorch's global generator. The loop seeds both
        at each step.
        """
        ...


class Stream(Protocol):
    """An endless sequence of samples. It is sent to worker processes, so it must be picklable."""

    def batch(self, start: int, count: int) -> Any:
        """Samples [start, start + count); the same in every process and at every call."""
        ...


WITHOUT_EFFECT = frozenset({"checkpoint_seconds", "threads", "workers"})
"""Settings that do not change the trained model; a resumed run may have others."""


MOST_RATE = 1000.0


class TrainingSettings(Frozen):
    """Optimiser, schedule and batches. The learning rate's defaults are ViLT's (section 4.2).

    Attributes:
        batch: samples per step, over all processes.
        accumulate: micro-batches into which each process cuts its share of a batch.
        learning_rate: the highest, after the warm-up.
        weight_decay: of matrices; biases, norms, positions and class tokens have none.
        warm_up: share of the budget over which the learning rate rises from 0; over the rest it falls to 0.
        clip: longest gradient norm; None: no clipping. UNITER's code has 5, ViLT's does not clip.
        seed: of everything random except the model's first weights.
        precision: `bf16` computes in bfloat16 where PyTorch's autocast does; weights stay float32.
        checkpoint_seconds: time between two checkpoints, and so the most that a kill loses.
        point_steps: steps between two points of the curve.
        threads: CPU threads of all processes of a machine together.
        workers: processes that prepare batches, per training process; 0 prepares them in the training process.
    """

    budget: Budget
    batch: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0, le=MOST_RATE)
    weight_decay: float = Field(default=1e-2, ge=0, le=MOST_RATE)
    warm_up: Fraction = 0.1
    clip: float | None = Field(default=5.0, gt=0, allow_inf_nan=False)
    seed: Seed = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_seconds: float = Field(default=60, ge=0, allow_inf_nan=False)
    point_steps: int = Field(default=20, ge=1)
    threads: int = Field(default=1, ge=1)
    workers: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _batch_can_be_cut(self) -> TrainingSettings:
        if self.accumulate > self.batch:
            raise ValueError(f"a batch of {self.batch} cannot be cut into {self.accumulate}; {self.batch} works")
        return self

    def identity(self) -> dict[str, object]:
        """Everything that the trained model depends on, as a flat mapping."""
        content = self.model_dump(mode="json", exclude=set(WITHOUT_EFFECT) | {"budget"})
        return content | {"budget": str(self.budget), "budget_amount": self.budget.amount}

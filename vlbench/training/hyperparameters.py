"""Hyperparameters of a training run: optimiser, schedule, batches."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vlbench.frozen import Frozen
from vlbench.specs.base import Fraction
from vlbench.training.budget import Budget

WITHOUT_EFFECT = frozenset({"checkpoint_seconds", "threads", "workers"})
"""Settings that do not change the trained model; a resumed run may have others."""


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
    learning_rate: float = Field(default=1e-4, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warm_up: Fraction = 0.1
    clip: float | None = Field(default=5.0, gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    checkpoint_seconds: float = Field(default=60, ge=0)
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

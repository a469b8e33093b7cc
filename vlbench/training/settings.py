"""How a model is trained: what all models of one comparison have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vlbench.frozen import Frozen
from vlbench.specs.base import Fraction
from vlbench.training.budget import Budget

UNSEEN = frozenset({"checkpoint_seconds", "threads", "workers"})
"""Settings that change no figure of the curve but its times, and that may differ when training goes on."""


class TrainingSettings(Frozen):
    """Optimiser, schedule and how the work is cut. Rates are ViLT's (section 4.2).

    Attributes:
        batch: samples of a step, over all processes.
        accumulate: parts that a process cuts its share of a batch into, one forward and backward pass each.
        learning_rate: at its height, after the warm-up.
        weight_decay: of matrices; biases, norms, positions and class tokens have none.
        warm_up: share of the budget over which the rate rises from 0; it falls to 0 over the rest.
        clip: longest norm of a gradient; None: any. 5 is UNITER's, as released; ViLT's code shortens none.
        seed: of all that is random but the model's first weights.
        precision: `bf16` computes in bfloat16 where PyTorch's autocast holds that safe; weights stay in float32.
        checkpoint_seconds: between two checkpoints; what a kill loses at most.
        point_steps: steps between two points of the curve.
        threads: of the CPU, over all processes of a machine.
        workers: processes that prepare batches, for each process that trains; 0: none, batches are made between steps.
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

    def described(self) -> dict[str, object]:
        """All that the trained model depends on, flat."""
        content = self.model_dump(mode="json", exclude=set(UNSEEN) | {"budget"})
        return content | {"budget": str(self.budget), "budget_amount": self.budget.amount}

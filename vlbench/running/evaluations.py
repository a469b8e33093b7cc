"""What a model answers right, and the line that says so in `evaluations.jsonl`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from vlbench.measure.machine import Machine
from vlbench.running.schemas import SCHEMA
from vlbench.tasks.items import Metric

EVALUATIONS = "evaluations.jsonl"


class Accuracy(BaseModel):
    """Shares between 0 and 1 of one task and split; docs/eval.md explains each key.

    Attributes:
        metric: what `value` is; the others are in `metrics`.
        n: things that it is the mean of.
        majority, text_only, shuffled_images: what the same metric is for the most frequent answer (for retrieval: for a
            model to which all pairs are alike), for the text without an image, and for the model with other images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    split: str
    metric: str
    value: float
    ci95: tuple[float, float] | None
    n: int
    majority: float | None = None
    text_only: float | None = None
    shuffled_images: float | None = None
    metrics: tuple[Metric, ...] = ()
    baselines: tuple[Metric, ...] = ()


class Evaluation(BaseModel):
    """A model on a split. `items` of `of` were asked; `seconds` are of all processes' passes, by the wall clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(default=SCHEMA, alias="schema")
    model: str
    family: str
    weights: str
    visual_weights: str
    unfilled: tuple[str, ...] = ()  # tensors that the weights say nothing of, and that are random
    regions: str | None  # "detector", or "precomputed"; None for a model without
    spec_hash: str
    evaluation_hash: str
    accuracy: Accuracy
    items: int
    of: int
    passes: int
    seconds: float
    device: str
    precision: str
    batch: int
    processes: int
    predictions: str  # the file beside this one
    machine: Machine
    measured_at: str
    vlbench_version: str

    def to_line(self) -> str:
        return self.model_dump_json(by_alias=True)

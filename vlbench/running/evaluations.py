"""What a model answers right, and the line that says so in `evaluations.jsonl`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vlbench.measure.machine import Machine
from vlbench.running.schemas import SCHEMA
from vlbench.tasks.items import Metric

EVALUATIONS = "evaluations.jsonl"


def minutes(seconds: float) -> str:
    """`45.0 s`, `12.3 min`"""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


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


class Training(BaseModel):
    """What it took to train a model here; docs/eval.md explains each key.

    Attributes:
        preset: the recipe's name.
        samples, steps: of the model itself; those of its detector's training are in `macs` and `seconds` alone.
        seconds: by the wall clock, of all phases, whatever the number of processes; `seconds_by_phase` sum up to it.
        macs: multiply-accumulates of forward and backward passes on all samples, those of its detector's training too;
            None where they were not counted.
        seed: of weights, batches and dropout.
        batch: samples of a step, over all processes.
        threads: of the CPU, over all processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str
    samples: int = Field(ge=0)
    seconds: float = Field(ge=0)
    macs: float | None = Field(default=None, ge=0)
    seed: int
    steps: int | None = None
    batch: int | None = None
    device: str | None = None
    precision: str | None = None
    processes: int = 1
    threads: int | None = None
    seconds_by_phase: dict[str, float] = {}

    def in_words(self) -> str:
        """`tiny, 200,000 samples, 12.3 min`"""
        return f"{self.preset}, {self.samples:,} samples, {minutes(self.seconds)}"


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
    detector: Literal["random", "trained"] | None = None  # what found them; None too where an earlier version wrote it
    spec_hash: str
    evaluation_hash: str
    accuracy: Accuracy
    training: Training | None = None
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

"""The records of a results folder: a result is a line of `cells.jsonl`, an evaluation a line of `evaluations.jsonl`.

docs/results.md explains each key.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass as record

from vlbench.frozen import COMPACT, Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.noise import Interference, Noise, undisturbed
from vlbench.measuring.records import Launch, Scope
from vlbench.measuring.statistics import LatencySummary
from vlbench.runner.schemas import ResultLine
from vlbench.tasks.items import Metric, PairedDifference

EVALUATIONS = "evaluations.jsonl"


def minutes(seconds: float) -> str:
    """`45.0 s`, `12.3 min`"""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


class Accuracy(Frozen):
    """Metrics of one task and split, as shares from 0 to 1.

    Attributes:
        metric: the name of the first metric, of which `value` and `ci95` are; `metrics` has all.
        n: the number of items that `value` is the mean of.
        majority, text_only, shuffled_images: the first metric of blind baselines: the most frequent answer (for
            retrieval: equal scores for all pairs), the text without an image, and the model with shuffled images.
        baselines: the first two of these with their intervals.
        untrained: what of the model has random weights, `random head` say, so that this says nothing of the
            architecture; no part of the file: `Evaluation.marked_accuracy` fills it.
    """

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
    untrained: str = Field(default="", exclude=True)


class Training(Frozen):
    """What it cost to train a model.

    Attributes:
        preset: the recipe's name.
        samples, steps: of the model itself; only `macs` and `seconds` include its detector's training.
        seconds: wall-clock time of all phases, whatever the number of processes; the sum of `seconds_by_phase`.
        macs: multiply-accumulates of forward and backward passes on all samples; None if they were not counted.
        seed: of weights, batches and dropout.
        batch: samples of a step, over all processes.
        threads: CPU threads, over all processes.
        waiting_share: of `seconds`, spent waiting for data; None if unknown, as in results of older versions.
    """

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
    seconds_by_phase: dict[str, float] = Field(default_factory=dict)
    waiting_share: float | None = Field(default=None, ge=0, le=1)

    def in_words(self) -> str:
        """`tiny, 200,000 samples, 12.3 min`"""
        return f"{self.preset}, {self.samples:,} samples, {minutes(self.seconds)}"


class Equality(Frozen):
    """How far the outputs of a converted model lie from those of eager PyTorch in fp32, or in bf16 and fp16 where the
    backend is given the model so. Shares of the largest value that eager PyTorch gives.

    Attributes:
        inputs: passes that were compared, of different sizes where the model allows it.
        largest, mean: over all passes and parts; the largest is None where shapes, types or what is finite differ.
        tolerance: what the largest may be.
        largest_by_part: by what was converted, each given what eager PyTorch gave it, and of the `output`.
    """

    inputs: int
    largest: float | None
    mean: float
    tolerance: float
    largest_by_part: dict[str, float | None]

    @property
    def within_tolerance(self) -> bool:
        return self.largest is not None and self.largest <= self.tolerance


class Conversion(Frozen):
    """What a backend made of a model, once, in a process of its own.

    Attributes:
        runtime: its name and version; None for PyTorch itself.
        options: of the runtime, as it names them.
        seconds: that the conversion took, without the check of its outputs.
        first_pass_ms: of the converted model, which compiles where conversion is lazy.
        size_bytes: on disk, of what was converted; None if nothing is written.
        eager_stages: why a stage, or a part of it, could not be converted and ran in PyTorch, by its name.
        equality: None if it was not converted.
    """

    runtime: str | None = None
    options: dict[str, str | int] = Field(default_factory=dict)
    seconds: float | None = None
    first_pass_ms: float | None = None
    size_bytes: int | None = None
    eager_stages: dict[str, str] = Field(default_factory=dict)
    equality: Equality | None = None

    @property
    def stages_by_reason(self) -> dict[str, list[str]]:
        """The stages that stayed in PyTorch, by the reason that they share."""
        stages: dict[str, list[str]] = {}
        for stage, reason in self.eager_stages.items():
            stages.setdefault(reason, []).append(stage)
        return stages


class Evaluation(ResultLine):
    """A model on a split: `items` of its `items_total` items were evaluated in `seconds` of wall-clock time."""

    model: str
    family: str
    weights: str
    visual_weights: str
    missing_keys: tuple[str, ...] = ()  # tensors that the weights lack, so that they stay random
    region_source: Literal["detector", "precomputed"] | None  # None for a model without regions
    detector_weights: Literal["random", "trained"] | None  # None if the model detected no regions itself
    spec_hash: str
    evaluation_hash: str
    accuracy: Accuracy
    training: Training | None = None
    items: int
    items_total: int
    passes: int
    seconds: float
    device: str
    precision: str
    backend: str = "eager"
    conversion: Conversion | None = None  # of a backend other than eager PyTorch
    difference: PairedDifference | None = None  # to eager PyTorch in fp32
    batch: int
    processes: int
    predictions: str  # a file in the same folder
    machine: Machine
    measured_at: str
    vlbench_version: str

    @property
    def untrained(self) -> str:
        """`random weights`, or the parts of which the weights lack tensors: `random head`; empty if none is."""
        if self.weights == "random":
            return "random weights"
        parts = dict.fromkeys(name.split(".")[0] for name in self.missing_keys)
        if self.detector_weights == "random":
            parts["detector"] = None
        return f"random {' and '.join(parts)}" if parts else ""

    @property
    def marked_accuracy(self) -> Accuracy:
        """The accuracy, which says what of the model is untrained."""
        return self.accuracy.model_copy(update={"untrained": self.untrained})


@record(frozen=True, slots=True, kw_only=True, config=COMPACT)
class WarmUp:
    """Passes before the first sample, and whether their time had settled."""

    n: int
    steady: bool


class Restart(Frozen):
    """What one fresh process measured: samples in milliseconds, in the order taken, and what interfered with them.

    `latency_ms_by_stage` is from separate passes, whose whole is `total`. `joules` is the energy of one pass.
    `input_ms` is of preparing one example, before any pass; empty in results of older versions.
    """

    latency_ms: tuple[float, ...]
    latency_ms_by_stage: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    input_ms: tuple[float, ...] = ()
    warm_up: WarmUp
    peak_memory_bytes: int | None = None
    detector_load: dict[str, int] | None = None
    joules: float | None = None
    launch: Launch | None = None
    interference: Interference | None = None
    seconds_by_phase: dict[str, float] = Field(default_factory=dict)
    measured_at: str


@lru_cache(maxsize=64)
def shared(machine: Machine) -> Machine:
    """The first of equal machines, so that thousands of results hold one."""
    return machine


class Result(ResultLine):
    """One line of `cells.jsonl`. All counts and times are of one forward pass of the whole batch."""

    model: str
    family: str
    archetype: str | None
    status: Literal["ok", "invalid", "failed"]
    error: str | None = None
    device: str
    precision: str
    backend: str
    scope: Scope | None = None  # None for eager PyTorch, which converts nothing
    conversion: Conversion | None = None
    batch: int
    l2: Literal["warm", "cold"] | None = None
    image_size: tuple[int, int]
    image_tokens: int | None = None
    text_tokens: int
    weights: str = "random"
    detector_load: dict[str, int] | None = None
    params_total: int | None = None
    params_trainable: int | None = None
    params_by_stage: dict[str, int] | None = None
    macs: int | None = None
    macs_by_stage: dict[str, int] | None = None
    flops: int | None = None
    params_table6: int | None = None
    macs_table6: int | None = None
    flops_table6: int | None = None
    operators: int | None = None
    unknown_operators: dict[str, int] | None = None
    bytes_moved: int | None = None
    bytes_moved_by_stage: dict[str, int] | None = None
    latency_ms: LatencySummary | None = None
    latency_ms_by_stage: dict[str, LatencySummary] | None = None
    input_ms: LatencySummary | None = None
    noise: Noise | None = None
    peak_memory_bytes: int | None = None
    joules: float | None = None
    launch: Launch | None = None
    accuracy: Accuracy | None = None
    training: Training | None = None
    restarts: tuple[Restart, ...] = ()
    seconds_by_phase: dict[str, float] = Field(default_factory=dict)
    machine: Annotated[Machine, AfterValidator(shared)]
    image_sha256: str
    text: str
    budget_seconds: float
    within: float | None = None
    seed: int
    spec_hash: str
    cell_hash: str
    measured_at: str
    vlbench_version: str

    @property
    def contended(self) -> str | None:
        """Why its latency is not to be trusted; None if nothing else used the machine."""
        return self.noise.contention if self.noise else None


@record(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class UnsampledRestart:
    """What a restart was measured under."""

    warm_up: WarmUp
    interference: Interference | None = None


class UnsampledResult(Result):
    """A result as it is read where no samples are needed: they are most of a line, and are skipped."""

    restarts: tuple[UnsampledRestart, ...] = ()  # type: ignore[assignment]


def undisturbed_restarts(restarts: Sequence[Any]) -> list[Any]:
    """The restarts without interference; all of them if those are too few to summarise."""
    return [restarts[index] for index in undisturbed([restart.interference for restart in restarts])]

"""The record of a live comparison: the samples of every replicate, and what was concluded from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import median
from typing import Any

from pydantic import Field

from vlbench.frozen import Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.noise import Interference, why_contended
from vlbench.measuring.statistics import LatencySummary, summarise
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import CellOutcome, Comparison, Verdict
from vlbench.runner import schemas
from vlbench.runner.aggregate import now
from vlbench.runner.records import Result
from vlbench.version import __version__

LIVE_SCHEMA = 2
BASE, CONTROL, HEAD = "base", "control", "head"  # the control is another process of the base


class LiveSamples(Frozen):
    """What one fresh process of a member measured, in milliseconds, and where a function computed."""

    latency_ms: tuple[float, ...]
    latency_ms_by_stage: dict[str, tuple[float, ...]]
    peak_memory_bytes: int
    steady: bool
    device: str = "cpu"
    interference: Interference | None = None


Replicate = dict[str, LiveSamples]


class Confirmation(Frozen):
    """The outcome of a second, independent set of replicates, taken where the first set showed a change."""

    effect: Effect
    confirmed: bool


class LiveWorkload(Frozen):
    """A model or function that was compared.

    Attributes:
        replicates: of the first set.
        confirmation_replicates: of the second set, taken to confirm a change.
        control: the effect of a second process of the base against the first; without bias it is none.
        biased: the control shows an effect, so that the verdict is only advice.
        disturbed: what else kept the machine busy in half of the replicates or more, so that the verdict is only
            advice; None if nothing did.
    """

    name: str
    base: Result
    head: Result
    replicates: tuple[Replicate, ...]
    confirmation_replicates: tuple[Replicate, ...] = ()
    control: Effect
    biased: bool
    disturbed: str | None = None
    confirmation: Confirmation | None = None

    @property
    def advisory(self) -> bool:
        """Whether the verdict must not block anything."""
        return self.biased or self.disturbed is not None

    def judge(self, cell: CellOutcome) -> tuple[Verdict, str | None]:
        """The verdict that a test may fail on, and why it is unknown: an advisory one is."""
        why = self.disturbed or ("two processes of the baseline differ" if self.biased else cell.reason)
        return ("unknown" if self.advisory else cell.verdict), why


class LiveFailure(Frozen):
    """A model or function that could not be measured. `head_only`: the base can be measured by itself."""

    name: str
    threshold: float
    reason: str
    head_only: bool


class LiveComparison(Frozen):
    """A live comparison. `comparison` is what is printed, and its exit code is that of the command."""

    schema_version: int = Field(default=LIVE_SCHEMA, alias="schema")
    comparison: Comparison
    workloads: tuple[LiveWorkload, ...]
    failed: tuple[LiveFailure, ...] = ()
    machine: Machine
    measured_at: str


def why_disturbed(replicate: Mapping[str, LiveSamples]) -> str | None:
    """What else kept the machine busy while a member was measured; None if nothing did."""
    known = [samples.interference for samples in replicate.values() if samples.interference]
    return next((reason for interference in known if (reason := why_contended(interference))), None)


def medians(replicates: Sequence[Mapping[str, LiveSamples]], member: str) -> list[float]:
    """The median of each of a member's processes."""
    return [median(replicate[member].latency_ms) for replicate in replicates]


def base_medians(replicates: Sequence[Mapping[str, LiveSamples]]) -> list[float]:
    """The geometric mean over the base's two processes in each replicate, which halves the noise."""
    pairs = zip(medians(replicates, BASE), medians(replicates, CONTROL), strict=True)
    return [sqrt(base * control) for base, control in pairs]


def sides_of(replicates: Sequence[Mapping[str, LiveSamples]], base: Result, head: Result) -> tuple[Result, Result]:
    """Both sides' results with their latencies. Restart i of one side was measured in lockstep with restart i of the
    other."""
    stages = [name for name in replicates[0][BASE].latency_ms_by_stage if _timed_in_all(replicates, name)]
    return (
        base.model_copy(update=_measured(replicates, [BASE, CONTROL], base_medians(replicates), stages)),
        head.model_copy(update=_measured(replicates, [HEAD], medians(replicates, HEAD), stages)),
    )


def _timed_in_all(replicates: Sequence[Mapping[str, LiveSamples]], stage: str) -> bool:
    return all(stage in samples.latency_ms_by_stage for replicate in replicates for samples in replicate.values())


def _measured(
    replicates: Sequence[Mapping[str, LiveSamples]], members: Sequence[str], by_restart: list[float], stages: list[str]
) -> dict[str, Any]:
    """The latency of each stage is averaged over the members of a side, as that of the whole is."""
    by_stage: dict[str, LatencySummary] = {}
    for stage in stages:
        of_members = [
            [median(replicate[member].latency_ms_by_stage[stage]) for replicate in replicates] for member in members
        ]
        averaged = [sum(values) / len(values) for values in zip(*of_members, strict=True)]
        by_stage[stage] = summarise([[value] for value in averaged])
    return {
        "status": "ok",
        "device": replicates[0][members[0]].device,
        "latency_ms": summarise([[value] for value in by_restart]),
        "latency_ms_by_stage": by_stage,
        "peak_memory_bytes": int(
            median(replicate[member].peak_memory_bytes for replicate in replicates for member in members)
        ),
        "measured_at": now(),
    }


def callable_result(name: str, machine: Machine, threads: int) -> Result:
    """A result of a function: without a spec, an input or a latency."""
    return Result(
        schema=schemas.RESULT_SCHEMA,
        model=name,
        family="function",
        archetype=None,
        status="ok",
        device="cpu",
        precision="-",
        backend="-",
        batch=1,
        image_size=(0, 0),
        text_tokens=0,
        weights="-",
        machine=machine.model_copy(update={"threads": threads}),
        image_sha256="",
        text="",
        budget_seconds=0,
        seed=0,
        spec_hash="",
        cell_hash="",
        measured_at=now(),
        vlbench_version=__version__,
    )

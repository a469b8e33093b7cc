"""What a live comparison leaves: every replicate of every member, and what was said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import median
from typing import Any

from pydantic import Field

from vlbench.frozen import Frozen
from vlbench.measure.machine import Machine
from vlbench.measure.noise import Interference, why_contended
from vlbench.measure.statistics import LatencySummary, summarise
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import Comparison
from vlbench.runner.aggregate import now
from vlbench.runner.records import Result

LIVE_SCHEMA = 2
BASE, CONTROL, HEAD = "base", "control", "head"  # the control is another process of the base


class LiveSamples(Frozen):
    """What one fresh process of a member measured, in milliseconds."""

    latency_ms: tuple[float, ...]
    latency_ms_by_stage: dict[str, tuple[float, ...]]
    peak_memory_bytes: int
    steady: bool
    interference: Interference | None = None


Replicate = dict[str, LiveSamples]


class Confirmation(Frozen):
    """A second, independent set of replicates, taken where the first said that something changed."""

    effect: Effect
    confirmed: bool


class LiveSubject(Frozen):
    """One thing compared: its replicates, the null control, and the confirmation if there was need of one.

    `control` is the effect of a second process of the base against the first: it ought to be none. `biased` says that
    it is not, and that the verdict is advice alone, as it is where `disturbed` says what else kept the machine busy in
    half of the replicates.
    """

    name: str
    base: Result
    head: Result
    replicates: tuple[Replicate, ...]
    confirming: tuple[Replicate, ...] = ()
    control: Effect
    biased: bool
    disturbed: str | None = None
    confirmation: Confirmation | None = None

    @property
    def advisory(self) -> bool:
        """Whether the verdict may not block anything."""
        return self.biased or self.disturbed is not None


class LiveFailure(Frozen):
    """Something that could not be measured. `head_alone`: the base could, when each was tried by itself."""

    name: str
    threshold: float
    reason: str
    head_alone: bool


class LiveComparison(Frozen):
    """The whole: `comparison` is what is printed, and its exit code the command's."""

    schema_version: int = Field(default=LIVE_SCHEMA, alias="schema")
    comparison: Comparison
    subjects: tuple[LiveSubject, ...]
    failed: tuple[LiveFailure, ...] = ()
    machine: Machine
    measured_at: str


def why_disturbed(replicate: Mapping[str, LiveSamples]) -> str | None:
    """What something else did while any of the members had its turn; None where nothing did."""
    known = [samples.interference for samples in replicate.values() if samples.interference]
    return next((why for interference in known if (why := why_contended(interference))), None)


def medians(replicates: Sequence[Mapping[str, LiveSamples]], member: str) -> list[float]:
    """The median of each of a member's processes."""
    return [median(replicate[member].latency_ms) for replicate in replicates]


def base_medians(replicates: Sequence[Mapping[str, LiveSamples]]) -> list[float]:
    """Of the base's two processes in each replicate, the geometric mean: half the noise of one alone."""
    pairs = zip(medians(replicates, BASE), medians(replicates, CONTROL), strict=True)
    return [sqrt(one * other) for one, other in pairs]


def sides_of(replicates: Sequence[Mapping[str, LiveSamples]], base: Result, head: Result) -> tuple[Result, Result]:
    """Both sides' results with their latencies, restart i of one measured in lockstep with restart i of the other."""
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
    """A stage of the base is that of the first of its processes and of the control, averaged as the whole is."""
    by_stage: dict[str, LatencySummary] = {}
    for stage in stages:
        of_members = [[median(one[member].latency_ms_by_stage[stage]) for one in replicates] for member in members]
        averaged = [sum(values) / len(values) for values in zip(*of_members, strict=True)]
        by_stage[stage] = summarise([[value] for value in averaged])
    return {
        "status": "ok",
        "latency_ms": summarise([[value] for value in by_restart]),
        "latency_ms_by_stage": by_stage,
        "peak_memory_bytes": int(median(one[member].peak_memory_bytes for one in replicates for member in members)),
        "measured_at": now(),
    }

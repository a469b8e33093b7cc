"""Requirements on a model, and whether a measurement meets them: surely, perhaps, or not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vlbench.errors import InputError
from vlbench.measuring.statistics import reaches
from vlbench.runner.records import Accuracy, Result
from vlbench.tables.numbers import percent, short_number

Meets = Literal["yes", "perhaps", "no", "unknown"]
GB = 10**9
WORST_FIRST: tuple[Meets, ...] = ("no", "unknown", "perhaps", "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBudget:
    """The highest latency and memory of a pass, and the lowest accuracy; None: any.

    Raises InputError if neither latency nor memory is limited, or a limit is not valid.
    """

    latency_ms: float | None = None
    memory_gb: float | None = None  # of 10^9 bytes
    accuracy: float | None = None  # a share

    def __post_init__(self) -> None:
        if self.latency_ms is None and self.memory_gb is None:
            raise InputError("no budget: add --latency-ms MS, --memory-gb GB, or both")
        for option, value in (("--latency-ms", self.latency_ms), ("--memory-gb", self.memory_gb)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{option} {value:g}: not a number above 0")
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise InputError(f"--accuracy {self.accuracy:g}: not a share between 0 and 100%; 80% or 0.8 works")

    def in_words(self) -> str:
        """`100 ms and 2 GB at 80% or more`"""
        latency = f"{self.latency_ms:,g} ms" if self.latency_ms is not None else ""
        memory = f"{self.memory_gb:,g} GB" if self.memory_gb is not None else ""
        least = f" at {100 * self.accuracy:g}% or more" if self.accuracy is not None else ""
        return " and ".join(filter(None, (latency, memory))) + least


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Whether a measurement meets one requirement.

    Attributes:
        of: `latency`, `memory` or `accuracy`.
        share: of the budget that it takes, if both are known; None for accuracy.
        reason: why it does not meet it, or might not.
    """

    of: str
    meets: Meets
    share: float | None = None
    reason: str | None = None


def judge(result: Result, accuracy: Accuracy | None, budget: ModelBudget) -> tuple[Judged, ...]:
    """Whether a measurement meets each requirement."""
    return tuple(_judged(result, accuracy, budget))


def worst(meets: Iterable[Meets]) -> Meets:
    """The worst of several: one `no` is enough."""
    return min(meets, key=WORST_FIRST.index)


def _judged(result: Result, accuracy: Accuracy | None, budget: ModelBudget) -> Iterator[Judged]:
    if result.status != "ok":
        yield Judged(of="latency", meets="unknown", reason=f"{result.status}: {result.error or 'no reason was kept'}")
        return
    if budget.latency_ms is not None:
        yield _judge_latency(result, budget.latency_ms)
    if budget.memory_gb is not None:
        yield _judge_memory(result, budget.memory_gb)
    if budget.accuracy is not None:
        yield _judge_accuracy(accuracy, budget.accuracy)


def _judge_latency(result: Result, budget_ms: float) -> Judged:
    """By the upper end of its 95% interval."""
    latency = result.latency_ms
    if latency is None:
        return Judged(of="latency", meets="unknown", reason="no latency was measured")
    if result.contended:
        return Judged(of="latency", meets="unknown", reason=result.contended)
    share = latency.median / budget_ms
    if not reaches(budget_ms, latency.median):
        over = f"{short_number(latency.median - budget_ms)} ms over, {_times(share)} the budget"
        return Judged(of="latency", meets="no", share=share, reason=over)
    if latency.ci95 is None:
        return Judged(of="latency", meets="perhaps", share=share, reason="too few restarts for a 95% interval")
    if not reaches(budget_ms, latency.ci95[1]):
        over = f"its 95% interval reaches {short_number(latency.ci95[1])} ms"
        return Judged(of="latency", meets="perhaps", share=share, reason=over)
    return Judged(of="latency", meets="yes", share=share)


def _judge_memory(result: Result, budget_gb: float) -> Judged:
    if result.peak_memory_bytes is None:
        return Judged(of="memory", meets="unknown", reason="no peak memory was measured")
    share = result.peak_memory_bytes / (budget_gb * GB)
    if result.peak_memory_bytes <= round(budget_gb * GB):
        return Judged(of="memory", meets="yes", share=share)
    peak_gb = result.peak_memory_bytes / GB
    over = peak_gb - budget_gb
    reason = f"{peak_gb:.3g} GB of memory, {over:.2g} GB over"
    return Judged(of="memory", meets="no", share=share, reason=reason)


def _judge_accuracy(accuracy: Accuracy | None, least: float) -> Judged:
    if accuracy is None:
        return Judged(of="accuracy", meets="unknown", reason="its accuracy is not known")
    if not reaches(accuracy.value, least):
        points = f"{percent(accuracy.value)}% is {100 * (least - accuracy.value):.2g} points short"
        return Judged(of="accuracy", meets="no", reason=points)
    if accuracy.ci95 is None or not reaches(accuracy.ci95[0], least):
        low = f"may be {percent(accuracy.ci95[0])}%" if accuracy.ci95 else "has no 95% interval"
        return Judged(of="accuracy", meets="perhaps", reason=f"its accuracy {low}")
    return Judged(of="accuracy", meets="yes")


def _times(share: float) -> str:
    return f"{share:.1f} times" if share >= 1.1 else f"{100 * share:.1f}% of"

"""What a live comparison reports while it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vlbench.regression.compare.effects import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveProgress:
    """What is known before a replicate of a workload.

    Attributes:
        replicates: so far.
        least: replicates before there can be a verdict; a change then takes LEAST_CONFIRMING more.
        seconds: that a replicate takes; None before the first.
        effect: so far; None before the first.
    """

    name: str
    replicates: int
    least: int
    seconds: float | None
    effect: Effect | None


Report = Callable[[LiveProgress], None]

"""Non-maximum suppression (NMS) timed alone: its settings, and its line in `suppressions.jsonl`."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar, Literal

from pydantic import Field

from vlbench.frozen import Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.noise import Interference, Noise
from vlbench.measuring.statistics import LatencySummary
from vlbench.runner.schemas import ResultLine
from vlbench.version import __version__

SUPPRESSIONS = "suppressions.jsonl"


class SuppressionCell(Frozen):
    """Random boxes over an image of 600x1000 with random class scores, suppressed by every method in turn."""

    action: ClassVar = "suppress"

    boxes: int = Field(ge=1)
    classes: int = Field(ge=1)
    iou: float = Field(gt=0, lt=1)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1)
    budget_seconds: float = Field(default=15, gt=0)
    within: float = Field(default=0.02, gt=0)
    restarts: int | None = Field(default=None, ge=1)

    @property
    def name(self) -> str:
        return f"{self.boxes} boxes, {self.classes} classes"

    def hash(self) -> str:
        """Of everything that the result depends on, without how long to measure."""
        settings = self.model_dump(mode="json", exclude={"budget_seconds", "within", "restarts"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class SuppressionRestart(Frozen):
    """Samples of each method in milliseconds, from one fresh process."""

    latency_ms: dict[str, tuple[float, ...]]
    interference: Interference | None = None
    measured_at: str


class SuppressionResult(ResultLine):
    """One line of `suppressions.jsonl`: milliseconds of one call of each method."""

    cell: SuppressionCell
    status: Literal["ok", "failed"]
    error: str | None = None
    latency_ms: dict[str, LatencySummary] = Field(default_factory=dict)
    noise: Noise | None = None
    restarts: tuple[SuppressionRestart, ...] = ()
    machine: Machine
    cell_hash: str
    measured_at: str
    vlbench_version: str

    @property
    def contended(self) -> str | None:
        """Why its latencies are not to be trusted; None if nothing else used the machine."""
        return self.noise.contention if self.noise else None


def suppression_result(cell: SuppressionCell, machine: Machine, measured_at: str, **values: Any) -> SuppressionResult:
    """The result of a cell; `values` are what was measured."""
    return SuppressionResult(
        cell=cell,
        machine=machine.model_copy(update={"threads": cell.threads}),
        cell_hash=cell.hash(),
        measured_at=measured_at,
        vlbench_version=__version__,
        **values,
    )

"""What the doctor found."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vlbench.measure.machine import Machine
from vlbench.measure.speed import MachineSpeed

Level = Literal["good", "note", "warning", "unfit"]


class Finding(BaseModel):
    """One thing that was looked at.

    `good`: as it should be. `note`: worth knowing. `warning`: measurements get wider intervals, or depend on a setting
    that can be mended. `unfit`: they would be wrong. `change` says what to do about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    level: Level
    finding: str
    change: str | None = None


class Diagnosis(BaseModel):
    """All findings on one machine; it is fit where none is `unfit`. `speed` is None where it could not be measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fit: bool
    threads: int
    machine: Machine
    findings: tuple[Finding, ...]
    speed: MachineSpeed | None
    seconds: float

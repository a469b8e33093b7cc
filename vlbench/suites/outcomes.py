"""How cells and claims stand. These dataclasses are what the tables print and the figures draw."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vlbench.measure.machine import Machine
from vlbench.suites.schema import Category, Suite

CellVerdict = Literal["within", "outside", "measured", "no reference", "not applicable", "not measured"]
ClaimVerdict = Literal["holds", "does not hold", "cannot tell"]
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproducedCell:
    """One row's figure in one column. `error` is relative to the reported figure; `interval` holds 95%."""

    suite: str
    row: str
    model: str | None
    quantity: str
    category: Category
    unit: str
    measured: float | str | None
    reported: float | str | None
    error: float | None
    tolerance: float | None
    interval: Interval | None
    verdict: CellVerdict
    reason: str | None
    erratum: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOutcome:
    """`value` and `interval` are of the first side of the comparison that has a figure in it."""

    suite: str
    text: str
    where: str
    expr: str
    verdict: ClaimVerdict
    value: float | None
    interval: Interval | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteOutcome:
    """A suite, and how its wanted cells and all its claims stand."""

    suite: Suite
    cells: tuple[ReproducedCell, ...]
    claims: tuple[ClaimOutcome, ...]
    quick: bool

    @property
    def passed(self) -> bool:
        """Whether every wanted cell is known, and each that has a tolerance is within it."""
        return not any(cell.verdict in ("outside", "not measured") for cell in self.cells)

    def cell(self, row: str, column: str) -> ReproducedCell | None:
        return next((cell for cell in self.cells if cell.row == row and cell.quantity == column), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """All suites of one command; `machine` and `settings` are None where nothing was timed."""

    suites: tuple[SuiteOutcome, ...]
    machine: Machine | None
    settings: dict[str, Any] | None
    quick: bool

    @property
    def passed(self) -> bool:
        return all(suite.passed for suite in self.suites)

    def as_dict(self) -> dict[str, Any]:
        return {
            "quick": self.quick,
            "machine": self.machine.model_dump(mode="json") if self.machine else None,
            "settings": self.settings,
            "suites": [{"name": one.suite.name, "title": one.suite.title} for one in self.suites],
            "cells": [asdict(cell) for one in self.suites for cell in one.cells],
            "claims": [asdict(claim) for one in self.suites for claim in one.claims],
        }

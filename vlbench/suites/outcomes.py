"""The outcome of a reproduction, as the tables print it and the figures draw it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vlbench.measuring.machine import Machine
from vlbench.suites.schema import Category, Suite

CellVerdict = Literal["within", "outside", "measured", "no reference", "not applicable", "not measured"]
ClaimVerdict = Literal["holds", "does not hold", "cannot tell"]
CONTENDED = " (contended)"
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproducedCell:
    """One row's figure in one column.

    Attributes:
        error: relative to the reported figure.
        interval: the 95% interval.
        reason: why there is no figure; for one that rests on a contended latency, why it is contended.
    """

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

    @property
    def contended(self) -> str | None:
        """Why a measured figure is not to be trusted."""
        return self.reason if self.measured is not None else None

    @property
    def mark(self) -> str:
        """What stands behind the figure, or the name of its row, wherever it is shown."""
        return CONTENDED if self.contended else ""


def contentions(cells: Iterable[ReproducedCell]) -> tuple[str, ...]:
    """Why some of the figures are not to be trusted, each reason once."""
    return tuple(dict.fromkeys(cell.contended for cell in cells if cell.contended))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOutcome:
    """Whether a claim holds.

    Attributes:
        value, interval: of the first side of its comparison that uses a figure.
        reason: why there is no verdict, and which of its latencies are contended.
    """

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
    """The outcome of a suite: the cells that were asked for, and all its claims."""

    suite: Suite
    cells: tuple[ReproducedCell, ...]
    claims: tuple[ClaimOutcome, ...]
    quick: bool

    @property
    def passed(self) -> bool:
        """Whether every cell has a figure, and each figure that has a tolerance is within it."""
        return not any(cell.verdict in ("outside", "not measured") for cell in self.cells)

    def cell(self, row: str, column: str) -> ReproducedCell | None:
        return next((cell for cell in self.cells if cell.row == row and cell.quantity == column), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The outcome of all suites of one command. `machine` and `settings` are None where nothing was timed."""

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
            "suites": [{"name": outcome.suite.name, "title": outcome.suite.title} for outcome in self.suites],
            "cells": [asdict(cell) for outcome in self.suites for cell in outcome.cells],
            "claims": [asdict(claim) for outcome in self.suites for claim in outcome.claims],
        }

"""Holds what was found against what a paper reports and states."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from vlbench.reproduce.bootstrap import interval
from vlbench.reproduce.claims import judge
from vlbench.reproduce.evidence import Evidence
from vlbench.reproduce.outcomes import CellOutcome, CellVerdict, Interval, SuiteOutcome
from vlbench.suites.expressions import Name, NoValueError, Value
from vlbench.suites.schema import Category, Column, Row, Suite

ROUNDING = 1e-9  # what decimal fractions lose in binary must not push a cell out of its tolerance


def evaluate(
    suite: Suite, evidence: Mapping[str, Evidence], wanted: Collection[Category], *, quick: bool
) -> SuiteOutcome:
    """The wanted cells, row by row, and every claim; `evidence` is by the rows' labels."""
    shown = [column for column in suite.columns if column.cells in wanted]
    cells = [_cell(suite, row, column, evidence, quick) for row in suite.rows for column in shown]

    def column_value(row: str, column: str) -> Value:
        return _figure(row, suite.column(column), evidence)

    claims = [judge(suite, claim, column_value, quick=quick) for claim in suite.claims]
    return SuiteOutcome(suite=suite, cells=tuple(cells), claims=tuple(claims), quick=quick)


def _figure(row: str, column: Column, evidence: Mapping[str, Evidence]) -> Value:
    """A column's value in a row. Raises NoValueError, naming the row where the figure is another's."""

    def look_up(name: Name) -> Value:
        try:
            return evidence[name.row or row].value(name.path)
        except NoValueError as error:
            raise NoValueError(f"{name.row}: {error}" if name.row and name.row != row else str(error)) from error

    return column.expression.value(look_up)


def _cell(suite: Suite, row: Row, column: Column, evidence: Mapping[str, Evidence], quick: bool) -> CellOutcome:
    measured, spread, reason = None, None, None
    known = evidence[row.label]
    applies = known.applies(column.expression)
    try:
        value = _figure(row.label, column, evidence)
        if applies:
            measured, spread = _point_and_interval(value)
    except NoValueError as missing:
        reason = str(missing)
    reported = row.reported.get(column.name)
    tolerance = None
    if column.cells != "latency":
        tolerance = row.tolerance.get(column.name, column.tolerance)
    error = None if quick and column.cells == "latency" else _error(measured, reported)
    verdict: CellVerdict = "not measured" if reason else "not applicable"
    if measured is not None:
        verdict = _verdict(column, measured, reported, error, tolerance)
    elif reported is not None and not reason:
        verdict, reason = "not measured", "the model has no such part, but the paper reports a figure"
    return CellOutcome(
        suite=suite.name,
        row=row.label,
        model=known.spec.name if known.spec else None,
        quantity=column.name,
        category=column.cells,
        unit=column.unit,
        measured=measured,
        reported=reported,
        error=error,
        tolerance=tolerance if reported is not None else None,
        interval=spread,
        verdict=verdict,
        reason=reason,
        erratum=row.erratum.get(column.name),
    )


def _point_and_interval(value: Value) -> tuple[float | str, Interval | None]:
    if isinstance(value, np.ndarray):
        return float(value[0]), interval(value)
    return value, None


def _error(measured: float | str | None, reported: float | str | None) -> float | None:
    if isinstance(measured, str) or isinstance(reported, str) or measured is None or not reported:
        return None
    return measured / reported - 1


def _verdict(
    column: Column,
    measured: float | str,
    reported: float | str | None,
    error: float | None,
    tolerance: float | None,
) -> CellVerdict:
    if column.cells == "latency":
        return "measured"
    if reported is None:
        return "no reference"
    if error is None or not tolerance:
        return "within" if measured == reported else "outside"
    return "within" if abs(error) <= tolerance + ROUNDING else "outside"

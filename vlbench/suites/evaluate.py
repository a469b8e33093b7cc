"""Compares results with what a paper reports and claims: exactly where figures are counted, with 95% intervals where
they are timed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from vlbench.measure.statistics import LEAST_RESTARTS
from vlbench.suites.evidence import RowEvidence, interval
from vlbench.suites.expressions import COMPARISONS, ClaimComparison, Name, NoValueError, Value
from vlbench.suites.outcomes import CellVerdict, ClaimOutcome, ClaimVerdict, Interval, ReproducedCell, SuiteOutcome
from vlbench.suites.quantities import origin
from vlbench.suites.schema import Category, Claim, Column, Row, Suite

SMALL = "timed at small settings (--quick), which tell nothing about the paper's"
ColumnValue = Callable[[str, str], Value]  # of a row and a column; raises NoValueError


def judge(suite: Suite, claim: Claim, column_value: ColumnValue, *, quick: bool) -> ClaimOutcome:
    """`holds` where the whole interval satisfies the claim, `does not hold` where none of it does."""
    comparison = claim.comparison
    verdict: ClaimVerdict = "cannot tell"
    value, spread, reason = None, None, None
    try:
        values = {name: column_value(name.row or "", name.path) for name in comparison.names}
        sides = [_numbers(side.value(values.__getitem__)) for side in comparison.sides]
        value, spread = _shown(comparison, sides)
        few = [name for name, found in values.items() if isinstance(found, np.ndarray) and np.isnan(found).any()]
        if quick and _is_timed(suite, comparison.names):
            reason = SMALL
        elif few:
            which = ", ".join(f'{name.path}["{name.row}"]' for name in few)
            reason = f"fewer than {LEAST_RESTARTS} restarts of {which}; a larger --budget helps"
        else:
            verdict = _truth(comparison, sides)
            reason = "the interval lies on both sides" if verdict == "cannot tell" else None
    except NoValueError as error:
        reason = str(error)
    return ClaimOutcome(
        suite=suite.name,
        text=claim.text,
        where=claim.where,
        expr=claim.expr,
        verdict=verdict,
        value=value,
        interval=spread,
        reason=reason,
    )


def _numbers(value: Value) -> float | np.ndarray:
    if isinstance(value, str):
        raise NoValueError(f"{value!r} is no number")
    return value


def _shown(comparison: ClaimComparison, sides: list[float | np.ndarray]) -> tuple[float, Interval | None]:
    """The first side that has a figure in it, and its interval where it is timed."""
    with_names = [value for side, value in zip(comparison.sides, sides, strict=True) if side.names]
    first = with_names[0] if with_names else sides[0]
    return (float(first[0]), interval(first)) if isinstance(first, np.ndarray) else (float(first), None)


def _is_timed(suite: Suite, names: tuple[Name, ...]) -> bool:
    columns = [suite.column(name.path) for name in names]
    return any(origin(part.path) == "latency" for column in columns for part in column.expression.names)


def _truth(comparison: ClaimComparison, sides: list[float | np.ndarray]) -> ClaimVerdict:
    """Each comparison of a chain by the interval of its difference: all certain, one impossible, or neither."""
    certain = True
    for sign, left, right in zip(comparison.signs, sides, sides[1:], strict=False):
        compare = COMPARISONS[sign]
        difference = np.asarray(left - right)
        if difference.ndim == 0:
            whole = some = bool(compare(float(difference), 0.0))
        else:
            low, high = np.percentile(difference[1:], [2.5, 97.5])
            ends = compare(low, 0.0), compare(high, 0.0)
            whole, some = all(ends), any(ends)
            if low < 0 < high:  # so that == is possible and != not certain
                some, whole = True, False
        if not some:
            return "does not hold"
        certain = certain and whole
    return "holds" if certain else "cannot tell"


ROUNDING = 1e-9  # what decimal fractions lose in binary must not push a cell out of its tolerance


def evaluate(
    suite: Suite, evidence: Mapping[str, RowEvidence], wanted: Collection[Category], *, quick: bool
) -> SuiteOutcome:
    """The wanted cells, row by row, and every claim; `evidence` is by the rows' labels."""
    shown = [column for column in suite.columns if column.cells in wanted]
    cells = [_cell(suite, row, column, evidence, quick) for row in suite.rows for column in shown]

    def column_value(row: str, column: str) -> Value:
        return _figure(row, suite.column(column), evidence)

    claims = [judge(suite, claim, column_value, quick=quick) for claim in suite.claims]
    return SuiteOutcome(suite=suite, cells=tuple(cells), claims=tuple(claims), quick=quick)


def _figure(row: str, column: Column, evidence: Mapping[str, RowEvidence]) -> Value:
    """A column's value in a row. Raises NoValueError, naming the row where the figure is another's."""

    def look_up(name: Name) -> Value:
        try:
            return evidence[name.row or row].value(name.path)
        except NoValueError as error:
            raise NoValueError(f"{name.row}: {error}" if name.row and name.row != row else str(error)) from error

    return column.expression.value(look_up)


def _cell(suite: Suite, row: Row, column: Column, evidence: Mapping[str, RowEvidence], quick: bool) -> ReproducedCell:
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
    return ReproducedCell(
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

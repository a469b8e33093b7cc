"""Compares results to what a paper reports and claims. Counted figures are compared exactly, within a tolerance; timed
figures by their 95% intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from vlbench.measuring.statistics import LEAST_RESTARTS, ROUNDING
from vlbench.suites.evidence import RowEvidence, interval
from vlbench.suites.expressions import COMPARISONS, ClaimComparison, Name, NoValueError, Value
from vlbench.suites.outcomes import CellVerdict, ClaimOutcome, ClaimVerdict, Interval, ReproducedCell, SuiteOutcome
from vlbench.suites.quantities import origin
from vlbench.suites.schema import Category, Claim, Column, Row, Suite

QUICK = "timed at small settings (--quick), which say nothing about the paper's"


def judge(suite: Suite, claim: Claim, evidence: Mapping[str, RowEvidence], *, quick: bool) -> ClaimOutcome:
    """Whether a claim holds: yes if the whole interval satisfies it, no if none of it does, else unknown.

    If it rests on a contended latency, the reason says so, whatever the verdict.
    """
    comparison = claim.comparison
    verdict: ClaimVerdict = "cannot tell"
    value, value_interval, reason = None, None, None
    try:
        values = {name: _figure(name.row or "", suite.column(name.path), evidence) for name in comparison.names}
        sides = [_numbers(side.value(values.__getitem__)) for side in comparison.sides]
        figures = [_timed_figures(suite, side.names) for side in comparison.sides]
        value, value_interval = _first_figure(comparison, sides, figures)
        too_few = [name for name, figure in values.items() if isinstance(figure, np.ndarray) and np.isnan(figure).any()]
        if quick and any(figures):
            reason = QUICK
        elif too_few:
            names = ", ".join(f'{name.path}["{name.row}"]' for name in too_few)
            reason = f"fewer than {LEAST_RESTARTS} restarts of {names}; a larger --budget helps"
        else:
            verdict = _truth(comparison, sides, figures)
            reason = "the interval lies on both sides" if verdict == "cannot tell" else None
        reason = "; ".join(filter(None, (reason, _contended(set().union(*figures), evidence)))) or None
    except NoValueError as error:
        reason = str(error)
    return ClaimOutcome(
        suite=suite.name,
        text=claim.text,
        where=claim.where,
        expr=claim.expr,
        verdict=verdict,
        value=value,
        interval=value_interval,
        reason=reason,
    )


def _numbers(value: Value) -> float | np.ndarray:
    if isinstance(value, str):
        raise NoValueError(f"{value!r} is not a number")
    return value


Figures = set[tuple[str, str]]  # rows and paths of timed figures


def _timed_figures(suite: Suite, names: Iterable[Name]) -> Figures:
    """Those that columns of rows are computed from."""
    return {
        (part.row or name.row or "", part.path)
        for name in names
        for part in suite.column(name.path).expression.names
        if origin(part.path) == "latency"
    }


def _contended(figures: Figures, evidence: Mapping[str, RowEvidence]) -> str | None:
    """Which of the latencies are contended, and why; None if none is."""
    reasons = {row: why for row, path in sorted(figures) if (why := evidence[row].contended(path))}
    return "; ".join(f"the latency of {row} is {why}" for row, why in reasons.items()) or None


def _first_figure(
    comparison: ClaimComparison, sides: Sequence[float | np.ndarray], figures: Sequence[Figures]
) -> tuple[float, Interval | None]:
    """The value of the first side that uses a figure, and its interval if it is timed."""
    first = next((index for index, side in enumerate(comparison.sides) if side.names), 0)
    value = sides[first]
    if isinstance(value, np.ndarray):
        return float(value[0]), interval(value, figures=len(figures[first]))
    return float(value), None


def _truth(
    comparison: ClaimComparison, sides: Sequence[float | np.ndarray], figures: Sequence[Figures]
) -> ClaimVerdict:
    """Judges each comparison of a chain by the interval of its difference.

    The claim holds if all are certain, and does not hold if one is impossible.
    """
    all_certain = True
    for index, sign in enumerate(comparison.signs):
        compare = COMPARISONS[sign]
        difference = _difference(*sides[index : index + 2])
        ends = interval(difference, figures=len(set.union(*figures[index : index + 2]))) if difference.ndim else None
        if ends is None:
            certain = possible = bool(compare(float(difference), 0.0))
        else:
            outcomes = [compare(end, 0.0) for end in ends]
            certain, possible = all(outcomes), any(outcomes)
            if ends[0] < 0 < ends[1]:  # equality, too, is possible and not certain
                certain, possible = False, True
        if not possible:
            return "does not hold"
        all_certain = all_certain and certain
    return "holds" if all_certain else "cannot tell"


def _difference(left: float | np.ndarray, right: float | np.ndarray) -> np.ndarray:
    """`left - right`; 0 where that is no more than rounding, so that 0.1 + 0.2 equals 0.3."""
    difference = np.asarray(left - right)
    return np.where(np.abs(difference) <= ROUNDING * np.abs(left), 0.0, difference)


def evaluate(
    suite: Suite, evidence: Mapping[str, RowEvidence], categories: Collection[Category], *, quick: bool
) -> SuiteOutcome:
    """Compares a suite to its paper: the columns of some categories, row by row, and every claim.

    Args:
        evidence: by the labels of rows.
        quick: whether latencies were measured at small settings, and are not comparable to the paper's.
    """
    columns = [column for column in suite.columns if column.cells in categories]
    cells = [_cell(suite, row, column, evidence, quick) for row in suite.rows for column in columns]
    claims = [judge(suite, claim, evidence, quick=quick) for claim in suite.claims]
    return SuiteOutcome(suite=suite, cells=tuple(cells), claims=tuple(claims), quick=quick)


def _figure(row: str, column: Column, evidence: Mapping[str, RowEvidence]) -> Value:
    """The value of a column in a row. Raises NoValueError; its message names the row if it is another one."""

    def look_up(name: Name) -> Value:
        try:
            return evidence[name.row or row].value(name.path)
        except NoValueError as error:
            raise NoValueError(f"{name.row}: {error}" if name.row and name.row != row else str(error)) from error

    return column.expression.value(look_up)


def _cell(suite: Suite, row: Row, column: Column, evidence: Mapping[str, RowEvidence], quick: bool) -> ReproducedCell:
    measured, measured_interval, reason, contended = None, None, None, None
    row_evidence = evidence[row.label]
    try:
        value = _figure(row.label, column, evidence)
        if row_evidence.applies(column.expression):
            figures = _timed_figures(suite, [Name(column.name, row.label)])
            measured, measured_interval = _point_and_interval(value, figures)
            contended = _contended(figures, evidence)
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
        verdict, reason = "not measured", "the paper reports a figure, but the model has no such part"
    return ReproducedCell(
        suite=suite.name,
        row=row.label,
        model=row_evidence.spec.name if row_evidence.spec else None,
        quantity=column.name,
        category=column.cells,
        unit=column.unit,
        measured=measured,
        reported=reported,
        error=error,
        tolerance=tolerance if reported is not None else None,
        interval=measured_interval,
        verdict=verdict,
        reason=reason or contended,
        erratum=row.erratum.get(column.name),
    )


def _point_and_interval(value: Value, figures: Figures) -> tuple[float | str, Interval | None]:
    if isinstance(value, np.ndarray):
        return float(value[0]), interval(value, figures=len(figures))
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

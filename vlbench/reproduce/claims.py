"""Whether a claim holds: exactly where its figures are counted, with 95% intervals where they are timed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vlbench.measure.statistics import LEAST_RESTARTS
from vlbench.reproduce.bootstrap import interval
from vlbench.reproduce.outcomes import ClaimOutcome, ClaimVerdict, Interval
from vlbench.suites.expressions import COMPARISONS, Comparison, Name, NoValueError, Value
from vlbench.suites.quantities import origin
from vlbench.suites.schema import Claim, Suite

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


def _shown(comparison: Comparison, sides: list[float | np.ndarray]) -> tuple[float, Interval | None]:
    """The first side that has a figure in it, and its interval where it is timed."""
    with_names = [value for side, value in zip(comparison.sides, sides, strict=True) if side.names]
    first = with_names[0] if with_names else sides[0]
    return (float(first[0]), interval(first)) if isinstance(first, np.ndarray) else (float(first), None)


def _is_timed(suite: Suite, names: tuple[Name, ...]) -> bool:
    columns = [suite.column(name.path) for name in names]
    return any(origin(part.path) == "latency" for column in columns for part in column.expression.names)


def _truth(comparison: Comparison, sides: list[float | np.ndarray]) -> ClaimVerdict:
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

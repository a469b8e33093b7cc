"""The rule by which an effect is faster, slower, same or unknown; and the gates that need no statistics: exact figures,
peak memory, and whether a model can be measured at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

from vlbench.measuring.rank_tests import least_restarts
from vlbench.measuring.statistics import reaches
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import Gate, GateVerdict, Verdict
from vlbench.runner.records import Result
from vlbench.tables.numbers import signed_percent

FAMILY_ALPHA, CELL_ALPHA = 0.05, 0.01
LINE_SHARE = 0.6
USEFUL_RESTARTS, MOST_RESTARTS = 12, 100
MARGIN = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, with its reason if it needs one."""

    verdict: Verdict
    reason: str | None = None


def confidence_for(comparisons: int) -> float:
    """The confidence of each interval at which unchanged code looks different in at most 1% of measurements, and in at
    most 5% of comparisons."""
    return 1 - min(CELL_ALPHA, FAMILY_ALPHA / max(comparisons, 1))


def line_of(threshold: float) -> float:
    """The change from which a measurement is called slower: 3% for a threshold of 5%.

    The threshold is the slowdown that must be caught. Half of the estimates of such a slowdown fall below it, so the
    line has to be lower.
    """
    return LINE_SHARE * threshold


def decide(
    effect: Effect,
    threshold: float,
    *,
    restarts: tuple[int, int],
    confidence: float,
    least: Callable[[float], int] = least_restarts,
) -> Decision:
    """The verdict on one measurement or stage.

    `slower`: the whole interval is above 1 and the ratio at least 1 + line. `faster`: the same for the inverse ratio.
    `same`: otherwise, if the interval is within (1 / (1 + threshold), 1 + threshold). `unknown`: otherwise.

    Args:
        effect: the ratio and its interval.
        threshold: 0.05 for 5%.
        restarts: of BASE and HEAD; used in the reason only.
        confidence: of the interval; used in the reason only.
        least: how many restarts an interval of an alpha needs; `least_pairs` for paired restarts.
    """
    if effect.low is None or effect.high is None:
        needed, level = max(USEFUL_RESTARTS, least(1 - confidence)), in_percent(confidence)
        reason = f"{_counted(restarts)}: too few for an interval of {level}; measure with --restarts {needed}"
        return Decision(verdict="unknown", reason=reason)
    line = 1 + line_of(threshold)
    if effect.real and reaches(effect.ratio, line):
        return Decision(verdict="slower")
    if effect.real and reaches(1 / effect.ratio, line):
        return Decision(verdict="faster")
    if not reaches(max(effect.high, 1 / effect.low), 1 + threshold):
        return Decision(verdict="same", reason=_small(effect, threshold) if effect.real else None)
    return Decision(verdict="unknown", reason=_too_wide(effect, threshold, restarts))


def _small(effect: Effect, threshold: float) -> str:
    return f"{'slower' if effect.ratio > 1 else 'faster'}, but by less than {in_percent(line_of(threshold))}"


def _too_wide(effect: Effect, threshold: float, restarts: tuple[int, int]) -> str:
    """The range that is possible, and how many restarts would narrow it enough if the estimate stays the same."""
    assert effect.low
    assert effect.high
    size = abs(log(effect.ratio))
    half_width = size if reaches(size, log(1 + line_of(threshold))) else log(1 + threshold) - size
    factor = (log(effect.high) - log(effect.low)) / 2 / half_width
    needed = max(max(restarts) + 1, ceil(MARGIN * max(restarts) * factor**2))
    possible = f"anything from {change(effect.low)} to {change(effect.high)} is possible"
    if needed > MOST_RESTARTS:
        return f"{possible}; the restarts differ too much for more of them to help, see vlbench doctor"
    return f"{possible}; measure with --restarts {needed}"


def change(ratio: float) -> str:
    """`+10.4%` for 1.104."""
    return signed_percent(ratio - 1)


def in_percent(share: float) -> str:
    """`99.75%`, `5%`: at most four significant digits."""
    return f"{float(f'{100 * share:.4g}'):g}%" if share < 0.9999 else "99.99%"


def _counted(restarts: tuple[int, int]) -> str:
    first, second = restarts
    if first == second:
        return "1 restart" if first == 1 else f"{first} restarts"
    return f"{first} restarts against {second}"


EXACT = ("params_total", "macs", "operators")
CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours and cursor movements of a terminal
MEMORY = "peak_memory_bytes"
MEMORY_WITHIN = 0.02
MEMORY_SLACK_BYTES = 2**20  # 2% of a small model is less than what an allocator rounds to
TITLES = {"status": "status", "params_total": "params", "macs": "MACs", "operators": "operators", MEMORY: "peak memory"}


def gates_of(base: Result, head: Result) -> tuple[Gate, ...]:
    """The status, three exact figures and peak memory. What grew is a regression; what shrank is only `changed`."""
    figures = [_figure(name, getattr(base, name), getattr(head, name)) for name in (*EXACT, MEMORY)]
    return (_status(base, head), *figures)


def one_line(error: str | None) -> str:
    """The error message of a worker, without line ends and terminal codes."""
    return " ".join("".join(filter(str.isprintable, CODES.sub("", word))) for word in (error or "no reason").split())


def _status(base: Result, head: Result) -> Gate:
    verdict: GateVerdict
    if base.status == head.status:
        verdict, message = "same", f"{head.status} on both sides"
    elif base.status == "ok":
        verdict, message = "regression", f"was ok, now {head.status}: {one_line(head.error)}"
    else:
        verdict, message = "changed", f"was {base.status}, now {head.status}"
    return Gate(figure="status", base=base.status, head=head.status, verdict=verdict, message=message)


def _figure(name: str, base: int | None, head: int | None) -> Gate:
    verdict: GateVerdict
    if base is None or head is None:
        where = "on either side" if base is head else "in BASE" if base is None else "in HEAD"
        verdict, message = "not compared", f"{TITLES[name]} not measured {where}"
    elif _equal(name, base, head):
        verdict, message = "same", f"{TITLES[name]} {head:,}"
    else:
        verdict = "regression" if head > base else "changed"
        grown = f", {100 * (head / base - 1):+.2g}%" if base else ""
        message = f"{TITLES[name]} {base:,} to {head:,}{grown}"
    return Gate(figure=name, base=base, head=head, verdict=verdict, message=message)


def _equal(name: str, base: int, head: int) -> bool:
    if name != MEMORY:
        return base == head
    return reaches(max(MEMORY_WITHIN * base, MEMORY_SLACK_BYTES), abs(head - base))

"""The rule: faster, slower, same or unknown, from an effect and its interval; and the gates that need no statistics:
figures that are the same in every run, and whether a model can be measured at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

from vlbench.measure.rank_tests import least_restarts
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import Gate, Verdict
from vlbench.runner.records import Result
from vlbench.tables.numbers import signed_percent

FAMILY_ALPHA, CELL_ALPHA = 0.05, 0.01
LINE_SHARE = 0.6
USEFUL_RESTARTS, MOST_RESTARTS = 12, 100
MARGIN = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict, and in a sentence why where it does not speak for itself."""

    verdict: Verdict
    reason: str | None = None


def confidence_for(comparisons: int) -> float:
    """Of each interval, such that with all of them 5% of suites, and 1% of cells, see a difference where none is."""
    return 1 - min(CELL_ALPHA, FAMILY_ALPHA / max(comparisons, 1))


def line_of(threshold: float) -> float:
    """The change from which a cell is called slower: 3% for a threshold of 5%.

    `threshold` is the slowdown that must not slip through. An estimate of a change that is exactly there falls below
    it every second time, so the line lies below it, too.
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
    """The verdict on one cell or stage.

    `slower`: the interval lies wholly above 1 and the ratio at or above 1 + line; `faster`: the same for the ratio's
    inverse; `same`: else, where the interval lies within (1 / (1 + threshold), 1 + threshold); `unknown`: else.

    Args:
        effect: the ratio and its interval of that confidence.
        threshold: 0.05 for 5%.
        restarts: of BASE and of HEAD, for the reason alone.
        confidence: for the reason alone.
        least: the fewest restarts that carry an interval at an alpha; `least_pairs` for paired restarts.
    """
    if effect.low is None or effect.high is None:
        wanted = max(USEFUL_RESTARTS, least(1 - confidence))
        return Decision(
            verdict="unknown",
            reason=f"{_counted(restarts)} cannot carry {in_percent(confidence)}; measure with --restarts {wanted}",
        )
    line = 1 + line_of(threshold)
    if effect.real and effect.ratio >= line:
        return Decision(verdict="slower")
    if effect.real and effect.ratio <= 1 / line:
        return Decision(verdict="faster")
    if 1 / (1 + threshold) < effect.low and effect.high < 1 + threshold:
        return Decision(verdict="same", reason=_small(effect, threshold) if effect.real else None)
    return Decision(verdict="unknown", reason=_too_wide(effect, threshold, restarts))


def _small(effect: Effect, threshold: float) -> str:
    return f"{'slower' if effect.ratio > 1 else 'faster'}, but by less than {in_percent(line_of(threshold))}"


def _too_wide(effect: Effect, threshold: float, restarts: tuple[int, int]) -> str:
    """Says what is possible, and how many restarts would narrow it enough if the estimate stays where it is."""
    assert effect.low
    assert effect.high
    size = abs(log(effect.ratio))
    wanted = size if size >= log(1 + line_of(threshold)) else log(1 + threshold) - size
    factor = log(effect.high / effect.low) / 2 / wanted
    needed = max(max(restarts) + 1, ceil(MARGIN * max(restarts) * factor**2))
    said = f"anything from {change(effect.low)} to {change(effect.high)} is possible"
    if needed > MOST_RESTARTS:
        return f"{said}; the restarts differ too much for more of them to help, see vlbench doctor"
    return f"{said}; measure with --restarts {needed}"


def change(ratio: float) -> str:
    """`+10.4%` for 1.104."""
    return signed_percent(ratio - 1)


def in_percent(share: float) -> str:
    """`99.75%`, `5%`: as many digits as it takes, four at the most."""
    return f"{float(f'{100 * share:.4g}'):g}%" if share < 0.9999 else "99.99%"


def _counted(restarts: tuple[int, int]) -> str:
    first, second = restarts
    if first == second:
        return "1 restart" if first == 1 else f"{first} restarts"
    return f"{first} restarts against {second}"


EXACT = ("params_total", "macs", "operators")
CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # of a terminal: colours, movements
MEMORY = "peak_memory_bytes"
MEMORY_WITHIN = 0.02
MEMORY_SLACK_BYTES = 2**20  # of a small model, 2% are fewer pages than an allocator rounds to
TITLES = {"status": "status", "params_total": "params", "macs": "MACs", "operators": "operators", MEMORY: "peak memory"}


def gates_of(base: Result, head: Result) -> tuple[Gate, ...]:
    """The status, three exact figures and peak memory. What grew is a regression; what shrank is told as changed."""
    figures = [_figure(name, getattr(base, name), getattr(head, name)) for name in (*EXACT, MEMORY)]
    return (_status(base, head), *figures)


def one_line(error: str | None) -> str:
    """What a worker left, without the line ends and terminal codes that it may hold."""
    return " ".join("".join(filter(str.isprintable, CODES.sub("", word))) for word in (error or "no reason").split())


def _status(base: Result, head: Result) -> Gate:
    if base.status == head.status:
        verdict, message = "same", f"{head.status} on both sides"
    elif base.status == "ok":
        verdict, message = "regression", f"was ok, now {head.status}: {one_line(head.error)}"
    else:
        verdict, message = "changed", f"was {base.status}, now {head.status}"
    return Gate(figure="status", base=base.status, head=head.status, verdict=verdict, message=message)


def _figure(name: str, base: int | None, head: int | None) -> Gate:
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
    return abs(head - base) <= max(MEMORY_WITHIN * base, MEMORY_SLACK_BYTES)

"""Gates that need no statistics: figures that are the same in every run, and whether a cell can be measured at all."""

from __future__ import annotations

import re

from vlbench.compare.outcomes import Gate
from vlbench.running.cells import Result

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

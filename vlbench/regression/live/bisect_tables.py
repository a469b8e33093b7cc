"""A bisection as tables: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlbench.regression.compare.tables import CHANGE, INTERVAL, VERDICT
from vlbench.regression.compare.verdicts import change
from vlbench.regression.live.bisect import Bisection, Found
from vlbench.tables.table import Table, TableColumn


def _step(column: TableColumn[Any]) -> TableColumn[Any]:
    return column.of(lambda found: found.step)


COLUMNS: tuple[TableColumn[Found], ...] = (
    TableColumn("measurement", lambda found: found.cell),
    *map(_step, (CHANGE, INTERVAL, VERDICT)),
    TableColumn("since", lambda found: " to ".join(_ends(found))),
    TableColumn("what moved", lambda found: found.step.moved or "", shown="wide"),
    TableColumn("subject", lambda found: found.commits[0].subject if found.status == "culprit" else ""),
)
STEPS: tuple[TableColumn[Any], ...] = (
    TableColumn("commit", lambda step: step.commit.short),
    TableColumn("measurement", lambda step: step.cell),
    *(VERDICT, CHANGE, INTERVAL),
)


def _ends(found: Found) -> Sequence[str]:
    """The first and the last commit of what is left."""
    return list(dict.fromkeys(commit.short for commit in (*found.commits[:1], *found.commits[-1:])))


def bisection_tables(bisection: Bisection) -> list[Table]:
    """The answer in one line, what is slower since when, why commits were skipped, the steps, and notes."""
    return [
        Table(caption=headline(bisection), style="bold", heading="**vlbench: {}**"),
        Table.of(COLUMNS, bisection.found),
        Table(notes=tuple(reason_lines(bisection))),
        Table.of(STEPS, bisection.steps, caption="Steps", folded=True),
        Table(notes=tuple(note_lines(bisection))),
    ]


def headline(bisection: Bisection) -> str:
    """One line: each culprit with what is slower since it; or how far the search came."""
    culprits: dict[str, list[str]] = {}
    for found in _all(bisection, "culprit"):
        culprits.setdefault(found.commits[0].short, []).append(_changed(found))
    parts = [f"slower since {commit}: {', '.join(cells)}" for commit, cells in culprits.items()]
    parts += [
        f"slower since one of {len(found.commits)} commits: {_changed(found)}" for found in _all(bisection, "range")
    ]
    unknown = [found.cell for found in _all(bisection, "unknown")]
    if unknown:
        parts.append(f"cannot tell: {', '.join(unknown)}")
    text = "; ".join(parts) or f"nothing is slower at {bisection.bad.short} than at {bisection.good.short}"
    return text[0].upper() + text[1:]


def reason_lines(bisection: Bisection) -> list[str]:
    """The commits of each range, and why others were skipped."""
    lines = [
        f"{found.cell}: one of {', '.join(commit.short for commit in found.commits)}"
        for found in _all(bisection, "range")
    ]
    return lines + [
        f"{step.commit.short} skipped for {step.cell}: {step.verdict}: {step.reason}"
        for step in bisection.steps
        if step.skipped
    ]


def note_lines(bisection: Bisection) -> list[str]:
    measured = len({step.commit.hash for step in bisection.steps})
    return [
        f"Good {bisection.good.short}, bad {bisection.bad.short}: {measured} of {bisection.between} commits measured",
        "Changes are relative to the good commit; a merge counts as one commit, and first parents are followed",
    ]


def _all(bisection: Bisection, status: str) -> Sequence[Found]:
    return [found for found in bisection.found if found.status == status]


def _changed(found: Found) -> str:
    return f"{found.cell} {change(found.step.effect.ratio)}" if found.step.effect else found.cell

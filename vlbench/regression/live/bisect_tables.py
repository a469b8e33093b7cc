"""A bisection as tables: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlbench.regression.compare.tables import CHANGE, INTERVAL, VERDICT
from vlbench.regression.compare.verdicts import change
from vlbench.regression.live.bisect import Bisection, SearchResult
from vlbench.tables.table import Table, TableColumn


def _step(column: TableColumn[Any]) -> TableColumn[Any]:
    return column.of(lambda result: result.step)


COLUMNS: tuple[TableColumn[SearchResult], ...] = (
    TableColumn("measurement", lambda result: result.workload),
    *map(_step, (CHANGE, INTERVAL, VERDICT)),
    TableColumn("since", lambda result: " to ".join(_ends(result))),
    TableColumn("what moved", lambda result: result.step.moved or "", shown="wide"),
    TableColumn("subject", lambda result: result.commits[0].subject if result.status == "culprit" else ""),
)
STEPS: tuple[TableColumn[Any], ...] = (
    TableColumn("commit", lambda step: step.commit.short),
    TableColumn("measurement", lambda step: step.workload),
    *(VERDICT, CHANGE, INTERVAL),
)


def _ends(result: SearchResult) -> Sequence[str]:
    """The first and the last of the commits."""
    return list(dict.fromkeys(commit.short for commit in (*result.commits[:1], *result.commits[-1:])))


def bisection_tables(bisection: Bisection) -> list[Table]:
    """The answer in one line, what is slower since when, why commits were skipped, the steps, and notes."""
    return [
        Table(caption=headline(bisection), style="bold", heading="**vlbench: {}**"),
        Table.of(COLUMNS, bisection.results),
        Table(notes=tuple(reason_lines(bisection))),
        Table.of(STEPS, bisection.steps, caption="Steps", folded=True),
        Table(notes=tuple(note_lines(bisection))),
    ]


def headline(bisection: Bisection) -> str:
    """One line: each culprit with what is slower since it; or how far the search came."""
    culprits: dict[str, list[str]] = {}
    for result in _with_status(bisection, "culprit"):
        culprits.setdefault(result.commits[0].short, []).append(_changed(result))
    parts = [f"slower since {commit}: {', '.join(workloads)}" for commit, workloads in culprits.items()]
    parts += [
        f"slower since one of {len(result.commits)} commits: {_changed(result)}"
        for result in _with_status(bisection, "range")
    ]
    unknown = [result.workload for result in _with_status(bisection, "unknown")]
    if unknown:
        parts.append(f"cannot tell: {', '.join(unknown)}")
    text = "; ".join(parts) or f"nothing is slower at {bisection.bad.short} than at {bisection.good.short}"
    return text[0].upper() + text[1:]


def reason_lines(bisection: Bisection) -> list[str]:
    """The commits of each range, and why others were skipped."""
    lines = [
        f"{result.workload}: one of {', '.join(commit.short for commit in result.commits)}"
        for result in _with_status(bisection, "range")
    ]
    return lines + [
        f"{step.commit.short} skipped for {step.workload}: {step.verdict}: {step.reason}"
        for step in bisection.steps
        if step.skipped
    ]


def note_lines(bisection: Bisection) -> list[str]:
    measured = f"{len({step.commit.hash for step in bisection.steps})} of {bisection.commit_count} commits measured"
    return [
        f"Good {bisection.good.short}, bad {bisection.bad.short}: {measured}",
        "Changes are relative to the good commit; a merge counts as one commit, and first parents are followed",
    ]


def _with_status(bisection: Bisection, status: str) -> Sequence[SearchResult]:
    return [result for result in bisection.results if result.status == status]


def _changed(result: SearchResult) -> str:
    return f"{result.workload} {change(result.step.effect.ratio)}" if result.step.effect else result.workload

"""A search for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from vlbench.markup import bullets, details, escape_markdown
from vlbench.regression.compare.tables import ABSENT, Row, interval, markdown_table, table, without_empty
from vlbench.regression.compare.verdicts import change
from vlbench.regression.live.bisect import Bisection, Found

HEADER = ("cell", "change", "interval", "verdict", "since", "what moved", "subject")
STEP_HEADER = ("commit", "cell", "verdict", "change", "interval")


def headline(bisection: Bisection) -> str:
    """One line: each culprit with its cells; or how far the search came."""
    culprits: dict[str, list[str]] = {}
    for found in bisection.found:
        if found.status == "culprit":
            culprits.setdefault(found.commits[0].short, []).append(_changed(found))
    said = [f"slower since {commit}: {', '.join(cells)}" for commit, cells in culprits.items()]
    said += [
        f"slower since one of {len(found.commits)} commits: {_changed(found)}" for found in _all(bisection, "range")
    ]
    unknown = [found.cell for found in _all(bisection, "unknown")]
    if unknown:
        said.append(f"cannot tell: {', '.join(unknown)}")
    if not said:
        said = [f"nothing is slower at {bisection.bad.short} than at {bisection.good.short}"]
    text = "; ".join(said)
    return text[0].upper() + text[1:]


def render(bisection: Bisection, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: any."""
    parts: list[RenderableType] = [Text(headline(bisection), style="bold"), Text("")]
    parts += [table(HEADER, rows(bisection), width), Text("")]
    lines = [*reason_lines(bisection), *note_lines(bisection)]
    return Group(*parts, Text("\n".join(lines), style="dim", overflow="fold"))


def markdown(bisection: Bisection) -> str:
    parts = [
        f"**vlbench: {escape_markdown(headline(bisection))}**",
        markdown_table(*without_empty(HEADER, rows(bisection))),
    ]
    if reason_lines(bisection):
        parts.append(bullets(reason_lines(bisection)))
    parts.append(details("Steps", markdown_table(STEP_HEADER, step_rows(bisection))))
    parts.append(bullets(note_lines(bisection)))
    return "\n\n".join(parts) + "\n"


def rows(bisection: Bisection) -> list[Row]:
    """A row a cell."""
    return [
        (
            found.cell,
            change(found.step.effect.ratio) if found.step.effect else ABSENT,
            interval(found.step.effect),
            found.step.verdict,
            " to ".join(dict.fromkeys(commit.short for commit in (*found.commits[:1], *found.commits[-1:]))),
            found.step.moved or "",
            found.commits[0].subject if found.status == "culprit" else "",
        )
        for found in bisection.found
    ]


def step_rows(bisection: Bisection) -> list[Row]:
    return [
        (
            step.commit.short,
            step.cell,
            step.verdict,
            change(step.effect.ratio) if step.effect else ABSENT,
            interval(step.effect),
        )
        for step in bisection.steps
    ]


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
        "Changes are from the good commit; a merge is one commit, the way follows first parents",
    ]


def _all(bisection: Bisection, status: str) -> Sequence[Found]:
    return [found for found in bisection.found if found.status == status]


def _changed(found: Found) -> str:
    return f"{found.cell} {change(found.step.effect.ratio)}" if found.step.effect else found.cell

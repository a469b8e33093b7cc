"""What the doctor found, and the table that shows it, worst findings first."""

from __future__ import annotations

from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.frozen import Frozen
from vlbench.measure.machine import Machine
from vlbench.measure.records import MachineSpeed

Level = Literal["good", "note", "warning", "unfit"]


class Finding(Frozen):
    """One thing that was looked at.

    `good`: as it should be. `note`: worth knowing. `warning`: measurements get wider intervals, or depend on a setting
    that can be mended. `unfit`: they would be wrong. `change` says what to do about it.
    """

    check: str
    level: Level
    finding: str
    change: str | None = None


class Diagnosis(Frozen):
    """All findings on one machine; it is fit where none is `unfit`. `speed` is None where it could not be measured."""

    fit: bool
    threads: int
    machine: Machine
    findings: tuple[Finding, ...]
    speed: MachineSpeed | None
    seconds: float


_STYLES: dict[Level, str] = {"unfit": "bold red", "warning": "yellow", "note": "cyan", "good": "green"}


def render(diagnosis: Diagnosis) -> RenderableType:
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for title in ("", "check", "finding", "change"):
        table.add_column(title, overflow="fold")
    order = list(_STYLES)
    for found in sorted(diagnosis.findings, key=lambda finding: order.index(finding.level)):
        table.add_row(
            Text(found.level, style=_STYLES[found.level]), found.check, Text(found.finding), Text(found.change or "")
        )
    return Group(Text(diagnosis.machine.in_words()), table, _conclusion(diagnosis))


def _conclusion(diagnosis: Diagnosis) -> Text:
    levels = [finding.level for finding in diagnosis.findings]
    took = f"({diagnosis.seconds:.0f} s)"
    if not diagnosis.fit:
        return Text(f"not fit to measure on: see {levels.count('unfit')} above {took}", style=_STYLES["unfit"])
    warnings = levels.count("warning")
    with_warnings = f", with {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    return Text(f"fit to measure on{with_warnings} {took}", style=_STYLES["warning" if warnings else "good"])

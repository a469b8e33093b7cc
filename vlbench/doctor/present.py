"""Prints a diagnosis as a table, worst findings first."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.doctor.findings import Diagnosis, Level

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

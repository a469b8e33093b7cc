"""The findings of the doctor, and the table that shows them."""

from __future__ import annotations

from typing import Literal

from vlbench.frozen import Frozen
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import GpuSpeed, MachineSpeed
from vlbench.tables.numbers import counted
from vlbench.tables.table import Table, TableColumn

Level = Literal["good", "note", "warning", "unfit"]


class Finding(Frozen):
    """The result of one check.

    Attributes:
        level: `good`; `note`: worth knowing; `warning`: intervals get wider, or a setting could be better; `unfit`:
            measurements would be wrong.
        change: what to do about it.
    """

    check: str
    level: Level
    finding: str
    change: str | None = None


class Diagnosis(Frozen):
    """All findings on one machine, which is fit if none is `unfit`. A speed is None if it could not be measured."""

    fit: bool
    threads: int
    machine: Machine
    findings: tuple[Finding, ...]
    speed: MachineSpeed | None
    gpu_speed: GpuSpeed | None = None
    seconds: float


STYLES = {"unfit": "bold red", "warning": "yellow", "note": "cyan", "good": "green"}
COLUMNS = (
    TableColumn[Finding]("", lambda finding: finding.level, styles=STYLES),
    TableColumn[Finding]("check", lambda finding: finding.check),
    TableColumn[Finding]("finding", lambda finding: finding.finding, wraps=True),
    TableColumn[Finding]("change", lambda finding: finding.change or "", wraps=True),
)


def diagnosis_table(diagnosis: Diagnosis) -> Table:
    """The worst findings first, then the conclusion."""
    order = list(STYLES)
    findings = sorted(diagnosis.findings, key=lambda finding: order.index(finding.level))
    text, level = _conclusion(diagnosis)
    machine = diagnosis.machine.in_words()
    return Table.of(COLUMNS, findings, caption=machine, style="", notes=(text,), notes_style=STYLES[level])


def _conclusion(diagnosis: Diagnosis) -> tuple[str, Level]:
    levels = [finding.level for finding in diagnosis.findings]
    seconds, warnings = f"({diagnosis.seconds:.0f} s)", levels.count("warning")
    if not diagnosis.fit:
        return f"not fit to measure on: see {levels.count('unfit')} above {seconds}", "unfit"
    if warnings:
        return f"fit to measure on, with {counted(warnings, 'warning')} {seconds}", "warning"
    return f"fit to measure on {seconds}", "good"

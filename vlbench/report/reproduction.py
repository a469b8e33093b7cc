"""Reproductions as tables: measured beside reported, errata as footnotes, then the claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.markup import comments
from vlbench.report.tables import latex_table, markdown_table, rich_table, short_figure
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, Reproduction, SuiteOutcome
from vlbench.suites.schema import Column

QUICK = "Small settings (--quick): tiny models on small images, briefly timed. These latencies are not the papers'."
WIDEST = 200  # columns, where the output is no terminal
STYLES = {"holds": "green", "does not hold": "red", "cannot tell": "yellow"}


def cell_frame(outcome: SuiteOutcome) -> pd.DataFrame:
    """One row a row of the suite: each wanted column as measured and, where a paper has it, as printed."""
    errata = footnotes(outcome)
    first = "row" if any(row.set or not row.model for row in outcome.suite.rows) else "model"
    rows: dict[str, dict[str, str | None]] = {row.label: {first: row.label} for row in outcome.suite.rows}
    for column in outcome.suite.columns:
        cells = [cell for cell in outcome.cells if cell.quantity == column.name]
        has_paper = any(cell.reported is not None for cell in cells)
        has_error = any(cell.error is not None for cell in cells)
        for cell in cells:
            row = rows[cell.row]
            row[_heading(column)] = _measured(cell, column)
            if has_paper:
                mark = f" [{errata.index(cell.erratum) + 1}]" if cell.erratum else ""
                row[f"{column.title} paper"] = printed(cell.reported) + mark
            if has_error:
                row[f"{column.title} error"] = percent_error(cell)
    return pd.DataFrame(list(rows.values()), dtype=object)


def claim_frame(claims: Sequence[ClaimOutcome]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "verdict": claim.verdict,
                "claim": claim_sentence(claim),
                "value": claim_value(claim),
                "expression": claim.expr,
            }
            for claim in claims
        ],
        dtype=object,
    )


def footnotes(outcome: SuiteOutcome) -> list[str]:
    """Every erratum once, in the order of the cells."""
    return list(dict.fromkeys(cell.erratum for cell in outcome.cells if cell.erratum))


def notes(outcome: SuiteOutcome) -> list[str]:
    """What must be known beside a suite's figures: errata, what is missing, what is outside, the source's note."""
    lines = [f"[{number}] {text}" for number, text in enumerate(footnotes(outcome), start=1)]
    missing: dict[str, list[str]] = {}
    for cell in outcome.cells:
        if cell.verdict == "not measured":
            missing.setdefault(cell.reason or "", []).append(f"{cell.row} {cell.quantity}")
        if cell.verdict == "outside":
            allowed = f", {cell.tolerance:.2%} are allowed" if cell.tolerance else ""
            lines.append(f"Outside its tolerance: {cell.row} {cell.quantity}{allowed}")
    lines += [f"Not measured: {', '.join(cells)}: {reason}" for reason, cells in missing.items()]
    if outcome.suite.source.note:
        lines.append(outcome.suite.source.note.strip())
    if outcome.quick and any(cell.category == "latency" for cell in outcome.cells):
        lines.append(QUICK)
    return lines


def title(outcome: SuiteOutcome) -> str:
    source = outcome.suite.source
    where = ", ".join(filter(None, (source.paper, f"arXiv {source.arxiv}" if source.arxiv else "", source.where)))
    return f"{outcome.suite.name}: {outcome.suite.title} ({where})"


def closing(reproduction: Reproduction) -> list[str]:
    """The machine and the settings of all that was timed."""
    if not reproduction.machine or not reproduction.settings:
        return []
    settings = ", ".join(str(reproduction.settings[name]) for name in ("device", "precision"))
    return [
        f"Machine: {reproduction.machine.in_words()}",
        f"Settings: {settings}; latencies are medians on this machine, the papers' are from theirs",
    ]


def render(reproduction: Reproduction, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: any width."""
    parts: list[RenderableType] = []
    for outcome in reproduction.suites:
        parts.append(Text(title(outcome), style="bold"))
        if outcome.cells:
            parts.append(rich_table(cell_frame(outcome), width or WIDEST))
        if outcome.claims:
            parts += [Text(""), _claim_table(outcome.claims)]
        parts += [Text(line, style="dim", overflow="fold") for line in notes(outcome)]
        parts.append(Text(""))
    return Group(*parts, Text("\n".join(closing(reproduction)), style="dim", overflow="fold"))


def markdown(reproduction: Reproduction) -> str:
    parts = []
    for outcome in reproduction.suites:
        parts.append(f"### {title(outcome)}")
        if outcome.cells:
            parts.append(markdown_table(cell_frame(outcome)))
        if outcome.claims:
            frame = claim_frame(outcome.claims)
            parts.append(markdown_table(frame.assign(expression=frame["expression"].map("`{}`".format))))
        if notes(outcome):
            parts.append("\n".join(f"- {line}" for line in notes(outcome)))
    if closing(reproduction):
        parts.append("\n".join(f"- {line}" for line in closing(reproduction)))
    return "\n\n".join(parts) + "\n"


def latex(reproduction: Reproduction) -> str:
    """booktabs tables; titles and notes as comments."""
    parts = []
    for outcome in reproduction.suites:
        parts.append(comments([title(outcome)]))
        if outcome.cells:
            parts.append(latex_table(cell_frame(outcome)))
        if outcome.claims:
            parts.append(latex_table(claim_frame(outcome.claims).drop(columns="expression")))
        parts += [comments(notes(outcome))] if notes(outcome) else []
    return "\n".join([*parts, comments(closing(reproduction))]) + "\n"


def as_json(reproduction: Reproduction) -> str:
    """One object a cell and one a claim, with the machine."""
    return json.dumps(reproduction.as_dict(), indent=1, allow_nan=False) + "\n"


WRITERS: dict[str, Callable[[Reproduction], str]] = {"json": as_json, "markdown": markdown, "latex": latex}


def save(reproduction: Reproduction, folder: Path) -> None:
    """Writes `reproduction.md` and `reproduction.json`. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "reproduction.md").write_text(markdown(reproduction), encoding="utf-8")
    (folder / "reproduction.json").write_text(as_json(reproduction), encoding="utf-8")


def _claim_table(claims: Sequence[ClaimOutcome]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("claim", overflow="fold")
    table.add_column("value", overflow="fold")
    for claim in claims:
        verdict = Text(claim.verdict, style=STYLES[claim.verdict])
        table.add_row(verdict, Text(f"{claim_sentence(claim)}\n{claim.expr}"), Text(claim_value(claim)))
    return table


def claim_sentence(claim: ClaimOutcome) -> str:
    return f"{claim.text} ({claim.where})" if claim.where else claim.text


def claim_value(claim: ClaimOutcome) -> str:
    """The figure behind a verdict, its interval, and why nothing can be told."""
    parts = []
    if claim.value is not None:
        parts.append(_short(claim.value))
    if claim.interval:
        parts.append(f"95% {_short(claim.interval[0])} to {_short(claim.interval[1])}")
    if claim.reason:
        parts.append(claim.reason)
    return ", ".join(parts)


def _heading(column: Column) -> str:
    return f"{column.title} {column.unit}".strip()


def _measured(cell: ReproducedCell, column: Column) -> str:
    timed = column.cells == "latency" and isinstance(cell.measured, float)
    shown = short_figure(cell.measured) if timed else _figure(cell.measured, column.digits)  # type: ignore[arg-type]
    return f"{shown} !" if cell.verdict == "outside" else shown


def figure(value: float | str | None) -> str:
    """As short as it can be told, whatever its column."""
    if value is None or isinstance(value, str):
        return value or "-"
    return _short(value)


def _figure(value: float | str | None, digits: int) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:,.{digits}f}"


def printed(value: float | str | None) -> str:
    """A reported figure with the digits that the paper prints."""
    return "-" if value is None else f"{value:,}" if not isinstance(value, str) else value


def percent_error(cell: ReproducedCell) -> str:
    """By how much the measured figure differs from the reported one."""
    if cell.error is None:
        return "-"
    return f"{cell.error:+.2%}" if abs(cell.error) < 1 else f"{cell.error + 1:,.1f} times"


def _short(value: float) -> str:
    """Three significant digits, or whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")

"""Reproductions as tables: measured next to reported values, errata as footnotes, then the claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from vlbench.files.writing import write_text
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, Reproduction, SuiteOutcome
from vlbench.suites.schema import Column, Row, Source
from vlbench.tables.numbers import short_number
from vlbench.tables.table import GAP, Table, TableColumn
from vlbench.tables.writers import to_json, to_markdown

QUICK = "Small settings (--quick): tiny models on small images, briefly timed. These latencies are not the papers'."
MEASURE_AGAIN = "measure again on an idle machine"
STYLES = {"holds": "green", "does not hold": "red", "cannot tell": "yellow"}


def reproduction_tables(reproduction: Reproduction) -> list[Table]:
    """Per suite its measured values and its claims; then the machine and the settings."""
    tables = [table for outcome in reproduction.suites for table in _suite_tables(outcome)]
    return [*tables, Table(notes=tuple(_closing(reproduction)))]


def _suite_tables(outcome: SuiteOutcome) -> list[Table]:
    title = suite_title(outcome.suite.name, outcome.suite.title, outcome.suite.source)
    rows = outcome.suite.rows if outcome.cells else ()
    measured = Table.of(_columns(outcome), rows, caption=title, style="bold", heading="### {}")
    return [measured, Table.of(CLAIMS, outcome.claims, notes=tuple(notes(outcome)))]


def suite_title(name: str, title: str, source: Source) -> str:
    where = ", ".join(filter(None, (source.paper, f"arXiv {source.arxiv}" if source.arxiv else "", source.where)))
    return f"{name}: {title} ({where})"


def _columns(outcome: SuiteOutcome) -> Iterator[TableColumn[Row]]:
    """Each column of the suite as measured and, where a paper reports it, as printed there and with its error."""
    errata = footnotes(outcome)
    several = any(row.set or not row.model for row in outcome.suite.rows)
    yield TableColumn("row" if several else "model", lambda row: row.label)
    for column in outcome.suite.columns:
        cells = {cell.row: cell for cell in outcome.cells if cell.quantity == column.name}
        if not cells:
            continue

        def cell_of(row: Row, cells: dict[str, ReproducedCell] = cells) -> ReproducedCell | None:
            return cells.get(row.label)

        yield _measured(column).of(cell_of)
        if any(cell.reported is not None for cell in cells.values()):
            yield _paper(column, errata).of(cell_of)
        if any(cell.error is not None for cell in cells.values()):
            error = TableColumn[ReproducedCell](f"{column.title} error", lambda cell: cell.error, percent_error)
            yield error.of(cell_of)


def _measured(column: Column) -> TableColumn[ReproducedCell]:
    """What is outside its tolerance, or rests on a contended latency, is marked."""

    def write(cell: ReproducedCell) -> str:
        value = cell.measured
        if value is None or isinstance(value, str):
            return value or GAP
        text = short_number(value) if column.cells == "latency" else f"{value:,.{column.digits}f}"
        return f"{text} !" if cell.verdict == "outside" else f"{text}{cell.mark}"

    return TableColumn(f"{column.title} {column.unit}".strip(), lambda cell: cell, write)


def _paper(column: Column, errata: Sequence[str]) -> TableColumn[ReproducedCell]:
    def write(cell: ReproducedCell) -> str:
        return printed(cell.reported) + (f" [{errata.index(cell.erratum) + 1}]" if cell.erratum else "")

    return TableColumn(f"{column.title} paper", lambda cell: cell, write)


def claim_sentence(claim: ClaimOutcome) -> str:
    return f"{claim.text} ({claim.where})" if claim.where else claim.text


def claim_value(claim: ClaimOutcome) -> str:
    """The value behind a verdict, its interval, why there is no verdict, and which latencies are contended."""
    parts = [_short(claim.value)] if claim.value is not None else []
    parts += [f"95% {_short(claim.interval[0])} to {_short(claim.interval[1])}"] if claim.interval else []
    return ", ".join([*parts, *([claim.reason] if claim.reason else [])])


CLAIMS = (
    TableColumn[ClaimOutcome]("verdict", lambda claim: claim.verdict, styles=STYLES),
    TableColumn[ClaimOutcome]("claim", claim_sentence, wraps=True),
    TableColumn[ClaimOutcome]("value", claim_value, wraps=True),
    TableColumn[ClaimOutcome]("expression", lambda claim: claim.expr, wraps=True),
)


def footnotes(outcome: SuiteOutcome) -> list[str]:
    """Every erratum once, in the order of the rows."""
    return list(dict.fromkeys(cell.erratum for cell in outcome.cells if cell.erratum))


def notes(outcome: SuiteOutcome) -> list[str]:
    """Errata, values that are outside their tolerance, contended or not measured, and the source's note."""
    lines = [f"[{number}] {text}" for number, text in enumerate(footnotes(outcome), start=1)]
    missing: dict[str, list[str]] = {}
    contended: dict[str, list[str]] = {}
    for cell in outcome.cells:
        if cell.verdict == "not measured":
            missing.setdefault(cell.reason or "", []).append(f"{cell.row} {cell.quantity}")
        if cell.contended:
            contended.setdefault(cell.contended, []).append(f"{cell.row} {cell.quantity}")
        if cell.verdict == "outside":
            allowed = f", {cell.tolerance:.2%} are allowed" if cell.tolerance else ""
            lines.append(f"Outside its tolerance: {cell.row} {cell.quantity}{allowed}")
    lines += [f"Not measured: {', '.join(cells)}: {reason}" for reason, cells in missing.items()]
    lines += [f"Contended: {', '.join(cells)}: {reason}; {MEASURE_AGAIN}" for reason, cells in contended.items()]
    if outcome.suite.source.note:
        lines.append(outcome.suite.source.note.strip())
    if outcome.quick and any(cell.category == "latency" for cell in outcome.cells):
        lines.append(QUICK)
    return lines


def _closing(reproduction: Reproduction) -> list[str]:
    """The machine and the settings of all latencies."""
    if not reproduction.machine or not reproduction.settings:
        return []
    settings = ", ".join(str(reproduction.settings[name]) for name in ("device", "precision", "backend"))
    return [
        f"Machine: {reproduction.machine.in_words()}",
        f"Settings: {settings}; latencies are medians on this machine, the papers' are from theirs",
    ]


def reproduction_json(reproduction: Reproduction) -> str:
    """One object per measured value and one per claim, with the machine."""
    return to_json(reproduction.as_dict())


def save(reproduction: Reproduction, folder: Path) -> None:
    """Writes `reproduction.md` and `reproduction.json`. Raises OSError if the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "reproduction.md", to_markdown(reproduction_tables(reproduction)))
    write_text(folder / "reproduction.json", reproduction_json(reproduction))


def printed(value: float | str | None) -> str:
    """A reported value with the digits that the paper prints."""
    return GAP if value is None else value if isinstance(value, str) else f"{value:,}"


def measured_text(value: float | str | None) -> str:
    """A measured value of any column, as short as its digits allow."""
    return GAP if value is None else value if isinstance(value, str) else _short(value)


def percent_error(error: float) -> str:
    """`+1.39%`, or `13.4 times` for errors from 100% on."""
    return f"{error:+.2%}" if abs(error) < 1 else f"{error + 1:,.1f} times"


def _short(value: float) -> str:
    """Three significant digits, or whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")

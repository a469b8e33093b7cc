"""Measured against reported, suite by suite, with errata as footnotes, and the papers' claims."""

from __future__ import annotations

from dataclasses import dataclass

from vlbench.report.folders import Folder
from vlbench.report.frames import Results
from vlbench.report.reproduction import claim_sentence, claim_value, measured_text, percent_error, printed
from vlbench.suites.outcomes import ReproducedCell, contentions
from vlbench.tables.table import GAP


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFigure:
    """As measured and as reported; `mark` is the number of its erratum's footnote."""

    measured: str
    reported: str
    error: str
    verdict: str
    mark: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedClaim:
    verdict: str
    sentence: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedSuite:
    """`rows` hold what a paper reports: by the row's label, a figure or nothing for each of `columns`. `contended` are
    the reasons not to trust some of the latencies."""

    key: str
    name: str
    title: str
    folder: str
    quick: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ReportedFigure | None, ...]], ...]
    footnotes: tuple[str, ...]
    claims: tuple[ReportedClaim, ...]
    contended: tuple[str, ...]


def suites(results: Results) -> list[ReportedSuite]:
    """Every suite of every folder that has something a paper reports or claims."""
    every = [_suite(folder, name) for folder in results.folders for name in _names(folder)]
    return [suite for suite in every if suite.rows or suite.claims]


def _names(folder: Folder) -> list[str]:
    return list(folder.reproduced.titles) if folder.reproduced else []


def _suite(folder: Folder, name: str) -> ReportedSuite:
    reproduced = folder.reproduced
    assert reproduced
    cells = [cell for cell in reproduced.cells if cell.suite == name and cell.reported is not None]
    rows = dict.fromkeys(cell.row for cell in cells)
    by_quantity = {cell.quantity: cell for cell in cells}
    footnotes = tuple(dict.fromkeys(cell.erratum for cell in cells if cell.erratum))
    claims = [
        ReportedClaim(verdict=claim.verdict, sentence=claim_sentence(claim), value=claim_value(claim))
        for claim in reproduced.claims
        if claim.suite == name
    ]
    figures = {(cell.row, cell.quantity): _figure(cell, footnotes) for cell in cells}
    return ReportedSuite(
        key=f"{folder.label}-{name}".replace("/", "-").replace(" ", "-"),
        name=name,
        title=reproduced.titles[name],
        folder=folder.label,
        quick=reproduced.quick,
        columns=tuple(_heading(by_quantity[name]) for name in by_quantity),
        rows=tuple((row, tuple(figures.get((row, name)) for name in by_quantity)) for row in rows),
        footnotes=footnotes,
        claims=tuple(claims),
        contended=contentions(cells),
    )


def _heading(cell: ReproducedCell) -> str:
    words = cell.quantity.split("_")
    return " ".join([*(word for word in words if word != cell.unit), *([cell.unit] if cell.unit else [])])


def _figure(cell: ReproducedCell, footnotes: tuple[str, ...]) -> ReportedFigure:
    return ReportedFigure(
        measured=f"{measured_text(cell.measured)}{cell.mark}",
        reported=printed(cell.reported),
        error=GAP if cell.error is None else percent_error(cell.error),
        verdict=cell.verdict,
        mark=footnotes.index(cell.erratum) + 1 if cell.erratum else None,
    )

"""Measured against reported, suite by suite, with errata as footnotes, and the papers' claims."""

from __future__ import annotations

from dataclasses import dataclass

from vlbench.report.folders import Folder
from vlbench.report.frames import Results
from vlbench.report.reproduction import claim_sentence, claim_value, measured_text, percent_error, printed
from vlbench.suites.outcomes import ReproducedCell
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
    """`rows` hold what a paper reports: by the row's label, a figure or nothing for each of `columns`."""

    key: str
    name: str
    title: str
    folder: str
    quick: bool
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[ReportedFigure | None, ...]], ...]
    footnotes: tuple[str, ...]
    claims: tuple[ReportedClaim, ...]


def suites(results: Results) -> list[ReportedSuite]:
    """Every suite of every folder that has something a paper reports or claims."""
    found = [_suite(folder, name) for folder in results.folders for name in _names(folder)]
    return [one for one in found if one.rows or one.claims]


def _names(folder: Folder) -> list[str]:
    return list(folder.reproduced.titles) if folder.reproduced else []


def _suite(folder: Folder, name: str) -> ReportedSuite:
    reproduced = folder.reproduced
    assert reproduced
    cells = [one for one in reproduced.cells if one.suite == name and one.reported is not None]
    rows = dict.fromkeys(one.row for one in cells)
    by_quantity = {one.quantity: one for one in cells}
    footnotes = tuple(dict.fromkeys(one.erratum for one in cells if one.erratum))
    claims = [
        ReportedClaim(verdict=one.verdict, sentence=claim_sentence(one), value=claim_value(one))
        for one in reproduced.claims
        if one.suite == name
    ]
    found = {(one.row, one.quantity): _figure(one, footnotes) for one in cells}
    return ReportedSuite(
        key=f"{folder.label}-{name}".replace("/", "-").replace(" ", "-"),
        name=name,
        title=reproduced.titles[name],
        folder=folder.label,
        quick=reproduced.quick,
        columns=tuple(_heading(by_quantity[name]) for name in by_quantity),
        rows=tuple((row, tuple(found.get((row, name)) for name in by_quantity)) for row in rows),
        footnotes=footnotes,
        claims=tuple(claims),
    )


def _heading(one: ReproducedCell) -> str:
    words = one.quantity.split("_")
    return " ".join([*(word for word in words if word != one.unit), *([one.unit] if one.unit else [])])


def _figure(one: ReproducedCell, footnotes: tuple[str, ...]) -> ReportedFigure:
    return ReportedFigure(
        measured=measured_text(one.measured),
        reported=printed(one.reported),
        error=GAP if one.error is None else percent_error(one.error),
        verdict=one.verdict,
        mark=footnotes.index(one.erratum) + 1 if one.erratum else None,
    )

"""What can be measured, as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.catalog import catalog


def models() -> str:
    """A line a model of the catalogue."""
    rows = [("MODEL", "ALIAS", "FAMILY", "INPUT", "TEXT", "SOURCE")]
    for spec in catalog().values():
        size = "x".join(map(str, spec.input.image_size))
        text = str(spec.input.text_tokens or "-")
        rows.append((spec.name, ", ".join(spec.aliases) or "-", spec.family, size, text, spec.source))
    return _aligned(rows)


def suites() -> str:
    """A line a suite of `benchmarks/`. Raises SpecError where one does not hold together."""
    from vlbench.suites.reader import read_suite, suite_paths  # noqa: PLC0415  a list of models does without

    rows = [("SUITE", "ROWS", "CLAIMS", "REPRODUCES", "TITLE")]
    for path in suite_paths().values():
        suite = read_suite(path).suite
        source = ", ".join(filter(None, (suite.source.paper.partition(" (")[0], suite.source.where)))
        rows.append((suite.name, str(len(suite.rows)), str(len(suite.claims)), source, suite.title))
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[-1] for row in rows
    )

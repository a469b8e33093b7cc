"""What can be measured, as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.specs.catalog import catalog
from vlbench.suites.schema import Source


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
    from vlbench.suites.reader import (
        ablation_paths,
        read_ablation,
        read_suite,
        suite_paths,
    )

    rows = [("SUITE", "ROWS", "CLAIMS", "REPRODUCES", "TITLE")]
    for path in suite_paths().values():
        suite = read_suite(path).suite
        rows.append((suite.name, str(len(suite.rows)), str(len(suite.claims)), _reproduces(suite.source), suite.title))
    for path in ablation_paths().values():
        trained = read_ablation(path).suite
        arms = str(len(trained.arms) * len(trained.models))
        rows.append((trained.name, arms, "-", _reproduces(trained.source), f"{trained.title} (trained)"))
    return _aligned(rows)


def _reproduces(source: Source) -> str:
    return ", ".join(filter(None, (source.paper.partition(" (")[0], source.where)))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[-1] for row in rows
    )

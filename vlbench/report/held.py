"""Measured results held against what the papers report of the same models, by the suites, also where none was run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlbench.measure.counts import Counts
from vlbench.reproduce.evaluate import evaluate
from vlbench.reproduce.evidence import Evidence
from vlbench.reproduce.outcomes import CellOutcome, ClaimOutcome, SuiteOutcome
from vlbench.running.cells import Result
from vlbench.suites.reader import LoadedSuite, read_suite, suite_paths
from vlbench.suites.schema import Category

CATEGORIES: tuple[Category, ...] = ("params", "flops", "latency")


def held_against_papers(results: Sequence[Result]) -> list[SuiteOutcome]:
    """Of each suite that has a row of a measured model's very spec: the figures that both have, and decided claims."""
    measured = {(one.spec_hash, one.batch): one for one in results if one.status == "ok"}
    found = []
    for path in suite_paths().values():
        outcome = _held(read_suite(path), measured) if measured else None
        if outcome:
            found.append(outcome)
    return found


def _held(loaded: LoadedSuite, measured: dict[tuple[str, int], Result]) -> SuiteOutcome | None:
    evidence = {row.label: Evidence(row=row, spec=loaded.specs.get(row.label)) for row in loaded.suite.rows}
    matched = False
    for row in loaded.suite.rows:
        spec = loaded.specs.get(row.label)
        result = measured.get((spec.hash(), row.batch)) if spec and row.reported else None
        if result:
            matched = True
            evidence[row.label] = Evidence(row=row, spec=spec, counts=_counts(result), result=result)
    if not matched:
        return None
    outcome = evaluate(loaded.suite, evidence, CATEGORIES, quick=False)
    cells = tuple(cell for cell in outcome.cells if _is_told(cell))
    claims = tuple(claim for claim in outcome.claims if _is_decided(claim))
    return SuiteOutcome(suite=outcome.suite, cells=cells, claims=claims, quick=False) if cells else None


def _is_told(cell: CellOutcome) -> bool:
    return cell.measured is not None and cell.reported is not None


def _is_decided(claim: ClaimOutcome) -> bool:
    return claim.verdict != "cannot tell"


def _counts(result: Result) -> Counts:
    """As they stand in the line; an older one lacks some."""
    known: dict[str, Any] = {name: getattr(result, name, None) for name in Counts.model_fields}
    return Counts.model_construct(**known)

"""Reads results folders for a page, a figure or an export, and compares measured results with the values that papers
report for the same models, also if no suite was run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from vlbench.errors import InputError, shortened
from vlbench.files.json_files import read_json
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Counts
from vlbench.runner.execution import in_order
from vlbench.runner.peaks import Peaks
from vlbench.runner.reader import CELLS, PEAKS, each_result, read_evaluations, read_lines, read_unsampled, warn
from vlbench.runner.records import EVALUATIONS, Evaluation, Result
from vlbench.suites.evaluate import evaluate
from vlbench.suites.evidence import RowEvidence
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, SuiteOutcome
from vlbench.suites.reader import LoadedSuite, read_suite, suite_paths
from vlbench.suites.schema import Category
from vlbench.tables.markup import visible

CATEGORIES: tuple[Category, ...] = ("params", "flops", "latency")


def compare_to_papers(results: Sequence[Result]) -> list[SuiteOutcome]:
    """Per suite with a row of a measured model's exact spec: the values both measured and reported, and its claims.

    Claims without a verdict are left out.
    """
    measured = {(result.spec_hash, result.batch): result for result in results if result.status == "ok"}
    if not measured:
        return []
    outcomes = (_outcome(read_suite(path), measured) for path in suite_paths().values())
    return [outcome for outcome in outcomes if outcome]


def _outcome(loaded: LoadedSuite, measured: dict[tuple[str, int], Result]) -> SuiteOutcome | None:
    evidence = {row.label: RowEvidence(row=row, spec=loaded.specs.get(row.label)) for row in loaded.suite.rows}
    matched = False
    for row in loaded.suite.rows:
        spec = loaded.specs.get(row.label)
        result = measured.get((spec.hash(), row.batch)) if spec and row.reported else None
        if result:
            matched = True
            evidence[row.label] = RowEvidence(row=row, spec=spec, counts=_counts(result), result=result)
    if not matched:
        return None
    outcome = evaluate(loaded.suite, evidence, CATEGORIES, quick=False)
    cells = tuple(cell for cell in outcome.cells if cell.measured is not None and cell.reported is not None)
    claims = tuple(claim for claim in outcome.claims if claim.verdict != "cannot tell")
    return SuiteOutcome(suite=outcome.suite, cells=cells, claims=claims, quick=False) if cells else None


def _counts(result: Result) -> Counts:
    """The counts of a result, unchecked: some may be None."""
    known: dict[str, Any] = {name: getattr(result, name, None) for name in Counts.model_fields}
    return Counts.model_construct(**known)


REPRODUCTION = "reproduction.json"
FILES = (CELLS, EVALUATIONS, REPRODUCTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """Measured and reported values, and the claims: from `reproduction.json`, or, without one, by comparison of the
    folder's measurements with the papers."""

    titles: dict[str, str]  # of the suites, by name
    cells: tuple[ReproducedCell, ...]
    claims: tuple[ClaimOutcome, ...]
    machine: Machine | None
    settings: dict[str, Any]
    quick: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One results folder. `label` distinguishes it from the others that are read with it.

    `results` are the latest line of each model, setting and machine, in the order of their first measurement, or else
    `in_order`, without samples.
    """

    label: str
    path: Path
    results: tuple[Result, ...]
    evaluations: tuple[Evaluation, ...]
    reproduced: Reproduced | None
    peaks: tuple[Peaks, ...] = ()


def read_folders(paths: Sequence[Path], warn: Callable[[str], None] = warn) -> tuple[Folder, ...]:
    """Reads each folder once. A folder without result files stands for all folders below it that have some, by name.

    Raises InputError if there are no results, or if a file is damaged.
    """
    by_target: dict[Path, Path] = {}
    for path in paths:
        for folder in _with_results(path):
            by_target.setdefault(folder.resolve(), folder)
    folders = list(by_target.values())
    return tuple(_read(path, label, warn) for path, label in zip(folders, _labels(folders), strict=True))


def _with_results(path: Path) -> list[Path]:
    if not path.is_dir():
        named = f"; name its folder, {path.parent}" if path.is_file() else ""
        raise InputError(f"{path}: is not a folder of results{named}")
    if any((path / name).is_file() for name in FILES):
        return [path]
    below = sorted({file.parent for name in FILES for file in path.rglob(name)})
    if not below:
        raise InputError(f"{path}: no {', '.join(FILES[:-1])} or {FILES[-1]} in or below it; vlbench run writes some")
    return below


def _labels(paths: Sequence[Path]) -> list[str]:
    """The last name of each path, or as many as make the labels unique; bytes that are not UTF-8 as escapes."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({names[-depth:] for names in parts}) < len(parts) and depth < max(map(len, parts)):
        depth += 1
    return [visible("/".join(names[-depth:]).replace("//", "/")) for names in parts]


def _read(path: Path, label: str, warn: Callable[[str], None]) -> Folder:
    latest = _latest(read_unsampled(path, warn)) if (path / CELLS).exists() else ()
    return Folder(
        label=label,
        path=path,
        results=latest,
        evaluations=tuple(read_evaluations(path, warn)),
        reproduced=_read_reproduction(path / REPRODUCTION) or _reproduced(latest),
        peaks=tuple(read_lines(path / PEAKS, Peaks, warn)),
    )


def measurement(result: Result) -> tuple[str, str]:
    """What later lines of the same measurement share."""
    return result.cell_hash, result.machine.model_dump_json()


def _latest(results: Sequence[Result]) -> tuple[Result, ...]:
    return tuple(in_order(list({measurement(result): result for result in results}.values())))


def read_samples(folder: Folder) -> Iterator[Result]:
    """Every line of a folder again, with its samples: one by one, as they take most of the memory."""
    return each_result(folder.path) if folder.results else iter(())


def _reproduced(results: Sequence[Result]) -> Reproduced | None:
    outcomes = compare_to_papers(results)
    if not outcomes:
        return None
    return Reproduced(
        titles={outcome.suite.name: outcome.suite.title for outcome in outcomes},
        cells=tuple(cell for outcome in outcomes for cell in outcome.cells),
        claims=tuple(claim for outcome in outcomes for claim in outcome.claims),
        machine=results[-1].machine,
        settings={},
        quick=False,
    )


class _SuiteTitle(BaseModel):
    name: str
    title: str


class _ReproductionFile(BaseModel):
    suites: tuple[_SuiteTitle, ...]
    cells: tuple[ReproducedCell, ...]
    claims: tuple[ClaimOutcome, ...]
    machine: Machine | None
    settings: dict[str, Any] | None
    quick: bool


def _read_reproduction(path: Path) -> Reproduced | None:
    if not os.path.lexists(path):
        return None
    remedy = f"vlbench reproduce --out {path.parent} writes it again"
    try:
        content = _ReproductionFile.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        reason = f"{shortened('.'.join(map(str, first['loc'])))}: {first['msg']}"
        raise InputError(f"{path}: {reason}; {remedy}") from error
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from error
    return Reproduced(
        titles={suite.name: suite.title for suite in content.suites},
        cells=content.cells,
        claims=content.claims,
        machine=content.machine,
        settings=content.settings or {},
        quick=content.quick,
    )

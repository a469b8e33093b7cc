"""Results folders as they lie on disk, read for a page, a figure or an export; and measured results compared with what
the papers report of the same models, also where no suite was run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vlbench.errors import InputError
from vlbench.measure.machine import Machine
from vlbench.measure.records import Counts
from vlbench.runner.peaks import Peaks
from vlbench.runner.records import EVALUATIONS, Evaluation, Result
from vlbench.runner.store import CELLS, PEAKS, read_evaluations, read_lines, read_results, warn
from vlbench.suites.evaluate import evaluate
from vlbench.suites.evidence import RowEvidence
from vlbench.suites.outcomes import ClaimOutcome, ReproducedCell, SuiteOutcome
from vlbench.suites.reader import LoadedSuite, read_suite, suite_paths
from vlbench.suites.schema import Category

CATEGORIES: tuple[Category, ...] = ("params", "flops", "latency")


def compare_to_papers(results: Sequence[Result]) -> list[SuiteOutcome]:
    """Of each suite that has a row of a measured model's very spec: the figures that both have, and decided claims."""
    measured = {(one.spec_hash, one.batch): one for one in results if one.status == "ok"}
    found = []
    for path in suite_paths().values():
        outcome = _held_rows(read_suite(path), measured) if measured else None
        if outcome:
            found.append(outcome)
    return found


def _held_rows(loaded: LoadedSuite, measured: dict[tuple[str, int], Result]) -> SuiteOutcome | None:
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
    cells = tuple(cell for cell in outcome.cells if _is_told(cell))
    claims = tuple(claim for claim in outcome.claims if _is_decided(claim))
    return SuiteOutcome(suite=outcome.suite, cells=cells, claims=claims, quick=False) if cells else None


def _is_told(cell: ReproducedCell) -> bool:
    return cell.measured is not None and cell.reported is not None


def _is_decided(claim: ClaimOutcome) -> bool:
    return claim.verdict != "cannot tell"


def _counts(result: Result) -> Counts:
    """As they stand in the line; an older one lacks some."""
    known: dict[str, Any] = {name: getattr(result, name, None) for name in Counts.model_fields}
    return Counts.model_construct(**known)


REPRODUCTION = "reproduction.json"
FILES = (CELLS, EVALUATIONS, REPRODUCTION)
_CELLS, _CLAIMS = TypeAdapter(tuple[ReproducedCell, ...]), TypeAdapter(tuple[ClaimOutcome, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """Measured beside reported, and the claims: what `reproduction.json` says, or, where there is none, what the suites
    say of the cells."""

    titles: dict[str, str]  # of the suites, by name
    cells: tuple[ReproducedCell, ...]
    claims: tuple[ClaimOutcome, ...]
    machine: Machine | None
    settings: dict[str, Any]
    quick: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One results folder. `label` tells it from the others that are read with it.

    `results` are the latest line of each cell and machine, in the order first measured.
    """

    label: str
    path: Path
    results: tuple[Result, ...]
    evaluations: tuple[Evaluation, ...]
    reproduced: Reproduced | None
    peaks: tuple[Peaks, ...] = ()


def read_folders(paths: Sequence[Path], warn: Callable[[str], None] = warn) -> tuple[Folder, ...]:
    """Each folder that is named, once; one that holds no results itself stands for those below it that do, by name.

    Raises InputError where nothing is there, or a file is damaged.
    """
    by_place: dict[Path, Path] = {}
    for path in paths:
        for one in _with_results(path):
            by_place.setdefault(one.resolve(), one)
    found = list(by_place.values())
    return tuple(_read(path, label, warn) for path, label in zip(found, _labels(found), strict=True))


def _with_results(path: Path) -> list[Path]:
    if not path.is_dir():
        named = f"; name its folder, {path.parent}" if path.is_file() else ""
        raise InputError(f"{path}: is no folder of results{named}")
    if _holds_results(path):
        return [path]
    below = sorted({file.parent for name in FILES for file in path.rglob(name)})
    if not below:
        raise InputError(f"{path}: no {', '.join(FILES[:-1])} or {FILES[-1]} in or below it; vlbench run writes some")
    return below


def _holds_results(path: Path) -> bool:
    return any((path / name).is_file() for name in FILES)


def _labels(paths: Sequence[Path]) -> list[str]:
    """The last name of each path, or as many as tell it from the others."""
    parts = [path.resolve().parts for path in paths]
    depth = 1
    while len({one[-depth:] for one in parts}) < len(parts) and depth < max(map(len, parts)):
        depth += 1
    return ["/".join(one[-depth:]).replace("//", "/") for one in parts]


def _read(path: Path, label: str, warn: Callable[[str], None]) -> Folder:
    results = read_results(path, warn) if (path / CELLS).is_file() else []
    latest = {(one.cell_hash, one.machine.model_dump_json()): one for one in results}
    return Folder(
        label=label,
        path=path,
        results=tuple(latest.values()),
        evaluations=tuple(read_evaluations(path, warn)),
        reproduced=_read_reproduction(path / REPRODUCTION) or _held(tuple(latest.values())),
        peaks=tuple(read_lines(path / PEAKS, Peaks, warn)),
    )


def _held(results: Sequence[Result]) -> Reproduced | None:
    outcomes = compare_to_papers(results)
    if not outcomes:
        return None
    return Reproduced(
        titles={one.suite.name: one.suite.title for one in outcomes},
        cells=tuple(cell for one in outcomes for cell in one.cells),
        claims=tuple(claim for one in outcomes for claim in one.claims),
        machine=results[-1].machine,
        settings={},
        quick=False,
    )


def _read_reproduction(path: Path) -> Reproduced | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Reproduced(
            titles={one["name"]: one["title"] for one in content["suites"]},
            cells=_CELLS.validate_python(content["cells"]),
            claims=_CLAIMS.validate_python(content["claims"]),
            machine=Machine.model_validate(content["machine"]) if content["machine"] else None,
            settings=content["settings"] or {},
            quick=content["quick"],
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else ""
        said = f"{where}: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else "damaged"
        raise InputError(f"{path}: {said}; vlbench reproduce --out {path.parent} writes it anew") from error

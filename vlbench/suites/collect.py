"""Reproduces suites: collects the counts and latencies that they need, each once, in one session, and compares them to
the papers. `--quick` uses small settings."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlbench.inputs import read_example
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Counts, Precision
from vlbench.runner.benchmark import BenchmarkSession
from vlbench.runner.cells import Cell
from vlbench.runner.devices import resolve_device
from vlbench.runner.nms_records import SuppressionCell, SuppressionResult
from vlbench.runner.plan import AnyCell, RunSettings, expand
from vlbench.runner.records import Result
from vlbench.runner.scheduler import CountRequest
from vlbench.runner.store import Measured
from vlbench.specs import AnySpec, ModelSpec
from vlbench.suites.evaluate import evaluate
from vlbench.suites.evidence import RowEvidence
from vlbench.suites.outcomes import Reproduction
from vlbench.suites.quantities import Origin, origin
from vlbench.suites.reader import LoadedSuite
from vlbench.suites.schema import Category, Row

BUDGET_SECONDS = 0.6
SHRINK = 4  # each side of the image; boxes and classes of a suppression


def small_spec(spec: AnySpec) -> AnySpec:
    """The architecture with tiny parts and the same text length, on an image with a quarter of each side.

    For a class of transformers, its file gives the small sizes, input included.
    """
    if not isinstance(spec, ModelSpec):
        return spec.tiny()
    tiny = spec.tiny()
    step = tiny.visual.side_multiple if tiny.visual.side_multiple > 1 else 64
    height, width = (max(1, math.ceil(side / SHRINK / step)) * step for side in spec.input.image_size)
    return tiny.with_input(image_size=(height, width), text_tokens=spec.input.text_tokens)


Key = tuple[str, str]  # a suite's name and a row's label
LEFT_OUT = "--cells leaves it out"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRequest:
    """What to collect. Without `budget_seconds` each suite uses its own budget."""

    categories: Collection[Category]
    quick: bool
    settings: RunSettings
    budget_seconds: float | None
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Evidence by suite and row. `machine` is None if nothing had to be timed."""

    evidence: dict[Key, RowEvidence]
    machine: Machine | None
    device: str
    kept: list[str]
    interrupted: bool


def collect(suites: Sequence[LoadedSuite], request: SuiteRequest) -> Collected:
    """Counts, then measures. Raises InputError, before anything runs, if a setting does not fit a model or the
    machine."""
    rows = {(loaded.suite.name, row.label): (loaded, row) for loaded in suites for row in loaded.suite.rows}
    with BenchmarkSession(request.settings.threads, request.settings.device) as session:
        return _collect(rows, request, session)


def _collect(rows: dict[Key, tuple[LoadedSuite, Row]], request: SuiteRequest, session: BenchmarkSession) -> Collected:
    timed = {key: pair for key, pair in rows.items() if "latency" in _origins(pair[0], request.categories)}
    machine = session.machine if timed else None
    cells: dict[Key, Cell] = {}
    suppressions: dict[Key, SuppressionCell] = {}
    for key, (loaded, row) in timed.items():
        assert machine
        if row.suppression:
            suppressions[key] = _suppression_cell(loaded, row, request, machine)
        else:
            cells[key] = _cell(loaded, row, request, machine)
    counts = _count(rows, request, session)
    results, interrupted, kept = _measure(cells, Result, request.folder, session)
    suppression_results: dict[Key, SuppressionResult] = {}
    if not interrupted:
        suppression_results, interrupted, more = _measure(suppressions, SuppressionResult, request.folder, session)
        kept += more
    missing = "interrupted before it was measured" if interrupted else LEFT_OUT
    evidence = {
        key: RowEvidence(
            row=row,
            spec=loaded.specs.get(row.label),
            counts=counts.get(key, LEFT_OUT),
            result=_or_reason(results.get(key, missing)),
            suppression=_or_reason(suppression_results.get(key, missing)),
        )
        for key, (loaded, row) in rows.items()
    }
    device = (
        resolve_device(request.settings.device, has_gpu=machine.gpu is not None) if machine else request.settings.device
    )
    return Collected(evidence=evidence, machine=machine, device=device, kept=kept, interrupted=interrupted)


def _origins(loaded: LoadedSuite, categories: Collection[Category]) -> set[Origin]:
    """The origins, count or latency, of the columns of these categories."""
    columns = [column for column in loaded.suite.columns if column.cells in categories]
    return {origin(name.path) for column in columns for name in column.expression.names}


def _budget(loaded: LoadedSuite, row: Row, request: SuiteRequest) -> float:
    default = row.budget_seconds or loaded.suite.settings.budget_seconds
    return request.budget_seconds or (BUDGET_SECONDS if request.quick else default)


def _restarts(request: SuiteRequest) -> int | None:
    return request.settings.restarts or (1 if request.quick else None)


def _precision(row: Row, request: SuiteRequest) -> Precision:
    return row.precision or request.settings.precision


def _cell(loaded: LoadedSuite, row: Row, request: SuiteRequest, machine: Machine) -> Cell:
    spec = loaded.specs[row.label]
    settings = replace(
        request.settings,
        precision=_precision(row, request),
        backend=row.backend or request.settings.backend,
        scope=row.scope or request.settings.scope,
        batch=row.batch,
        budget_seconds=_budget(loaded, row, request),
        restarts=_restarts(request),
    )
    (cell,) = expand([small_spec(spec) if request.quick else spec], read_example(None, None), settings, machine)
    return cell


def _suppression_cell(loaded: LoadedSuite, row: Row, request: SuiteRequest, machine: Machine) -> SuppressionCell:
    assert row.suppression
    small = {name: max(1, getattr(row.suppression, name) // SHRINK) for name in ("boxes", "classes")}
    return SuppressionCell(
        **row.suppression.model_dump() | (small if request.quick else {}),
        device=resolve_device(request.settings.device, has_gpu=machine.gpu is not None),
        threads=request.settings.threads,
        budget_seconds=_budget(loaded, row, request),
        restarts=_restarts(request),
    )


def _count(
    rows: dict[Key, tuple[LoadedSuite, Row]], request: SuiteRequest, session: BenchmarkSession
) -> dict[Key, Counts | str]:
    """Counts at full size, also for --quick, as they take little time. Equal batches are counted once."""
    requests = {
        key: CountRequest(loaded.specs[row.label], row.batch, _precision(row, request))
        for key, (loaded, row) in rows.items()
        if row.model and "count" in _origins(loaded, request.categories)
    }
    hashes = {key: (batch.spec.hash(), batch.batch, batch.precision) for key, batch in requests.items()}
    unique = {hashes[key]: batch for key, batch in requests.items()}
    counts = dict(zip(unique, session.count(list(unique.values())), strict=True))
    return {key: counts[hashed] for key, hashed in hashes.items()}


def _measure(
    cells: Mapping[Key, AnyCell], kind: type[Measured], folder: Path, session: BenchmarkSession
) -> tuple[dict[Key, Measured], bool, list[str]]:
    """The results of the cells, whether Ctrl-C interrupted them, and the names of those that were kept."""
    if not cells:
        return {}, False, []
    run = session.measure(list(cells.values()), kind, folder)
    by_hash = {result.cell_hash: result for result in run.results}
    results = {key: by_hash[cell.hash()] for key, cell in cells.items() if cell.hash() in by_hash}
    return results, run.interrupted, run.kept


def _or_reason(result: Any) -> Any:
    """The result if it is valid, otherwise the reason why there is none."""
    return result if isinstance(result, str) or result.status == "ok" else f"{result.status}: {result.error}"


def reproduce_suites(suites: Sequence[LoadedSuite], request: SuiteRequest) -> tuple[Reproduction, list[str], bool]:
    """Collects the figures of the suites and compares them to those of the papers.

    Returns:
        The outcome; the names of the measurements that were kept from an earlier run; whether Ctrl-C ended it.
    """
    collected = collect(suites, request)
    outcomes = [
        evaluate(
            loaded.suite,
            {row.label: collected.evidence[loaded.suite.name, row.label] for row in loaded.suite.rows},
            request.categories,
            quick=request.quick,
        )
        for loaded in suites
    ]
    settings = None
    if collected.machine:
        settings = {
            "device": collected.device,
            "precision": request.settings.precision,
            "backend": request.settings.backend,
            "scope": request.settings.scope,
            "threads": request.settings.threads,
            "budget_seconds": request.budget_seconds,
        }
    outcome = Reproduction(suites=tuple(outcomes), machine=collected.machine, settings=settings, quick=request.quick)
    return outcome, collected.kept, collected.interrupted

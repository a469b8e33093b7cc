"""Evaluates all models of a command; evaluations that the results folder already holds are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from vlbench.evaluation.conversion import ConversionError
from vlbench.evaluation.evaluate import EvaluationListener, EvaluationOutcome, evaluate, evaluation_hash
from vlbench.evaluation.paired import difference, reference_of
from vlbench.evaluation.processes import Process
from vlbench.evaluation.split import Split
from vlbench.evaluation.task_head import TaskHead
from vlbench.measuring.machine import Machine
from vlbench.measuring.records import Precision
from vlbench.runner.aggregate import now
from vlbench.runner.progress import print_above, progress_bars
from vlbench.runner.reader import warn
from vlbench.runner.records import Evaluation, Training
from vlbench.runner.store import Store
from vlbench.runner.workload import probe, set_up_torch
from vlbench.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRun:
    """The evaluations of each model, in the order of the models; only in the first process.

    Attributes:
        failures: why a backend gave no accuracy of a model, for a user.
    """

    evaluations: list[Evaluation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def evaluate_all(
    heads: Sequence[TaskHead],
    split: Split,
    folder: Path,
    *,
    process: Process,
    threads: int,
    training: Mapping[str, Training] | None = None,
    pairs: Sequence[tuple[str, Precision]] = (),
) -> EvaluationRun:
    """Evaluates each model on a split, with one backend and precision after the other.

    Raises InputError if a model's weights do not fit it or a file cannot be read; finished evaluations and the
    predictions so far are kept.

    Args:
        training: what the training of a model took, by the model's name; recorded with its evaluation.
        pairs: of backend and precision; by default the one of the split's settings. Eager PyTorch in fp32 comes first,
            as the others are compared to it.
    """
    splits = [split.under(backend=backend, precision=precision) for backend, precision in pairs] or [split]
    splits.sort(key=lambda some: not some.is_reference)
    set_up_torch(max(1, threads // process.world))
    run = EvaluationRun()
    with _resume_hint(folder, process), _store(folder, process) as store, _bar(shown=process.first) as bar:
        kept = process.broadcast({result.evaluation_hash: result for result in store.results} if store else {})
        for head, some in product(heads, splits):
            name, key = f"{head.spec.name}{some.setting}", evaluation_hash(head, some)
            if key in kept:
                warn_from_first(process, f"kept from {folder}: {name}; name another --out to evaluate it again")
                run.evaluations.append(kept[key])
                continue
            try:
                outcome = evaluate(head, some, folder, process=process, listener=_listener(bar))
            except ConversionError as error:
                run.failures.append(f"{name}: no accuracy: {error}")
                warn_from_first(process, run.failures[-1])
                continue
            if store is not None and outcome is not None:
                evaluation = _record(head, some, key, outcome, process, probe(threads))
                reference = None if some.is_reference else reference_of(head, some, store.results)
                more = {
                    "training": (training or {}).get(head.spec.name),
                    "difference": reference and difference(some, folder, evaluation, reference),
                }
                store.add(evaluation.model_copy(update=more))
                run.evaluations.append(store.results[-1])
    return run


@contextmanager
def _resume_hint(folder: Path, process: Process) -> Iterator[None]:
    """If the evaluation ends early, however it does, says how to continue it."""
    try:
        yield
    except BaseException:
        if any(path.stat().st_size for path in folder.glob("*.process-*.unfinished.jsonl")) or any(
            folder.glob("*.unfinished.npy")
        ):
            warn_from_first(process, f"the predictions so far are kept: the same command with --out {folder} continues")
        raise


@contextmanager
def _store(folder: Path, process: Process) -> Iterator[Store[Evaluation] | None]:
    """The store of evaluations, in the first process; None in the others."""
    if not process.first:
        yield None
        return
    with closing(Store(folder, Evaluation)) as store:
        try:
            yield store
        finally:
            if not store.path.stat().st_size:  # leave no empty file behind
                store.path.unlink()
                with suppress(OSError):
                    folder.rmdir()


def warn_from_first(process: Process, message: str) -> None:
    """Warns once, however many processes there are."""
    if process.first:
        warn(message)


def _record(
    head: TaskHead, split: Split, key: str, outcome: EvaluationOutcome, process: Process, machine: Machine
) -> Evaluation:
    settings, spec = split.settings, head.spec
    region_source: Literal["detector", "precomputed"] | None = None
    if spec.region_channels:
        region_source = "precomputed" if split.reads_features(spec) else "detector"
    described: dict[str, Any] = {
        "model": spec.name,
        "family": spec.family,
        "weights": spec.weights,
        "visual_weights": spec.visual.weights,
        "spec_hash": spec.hash(),
    }
    return Evaluation(
        **described,
        region_source=region_source,
        detector_weights=outcome.detector_weights,
        evaluation_hash=key,
        missing_keys=outcome.missing_keys,
        accuracy=outcome.accuracy,
        items=len(split.gallery.images) if split.gallery else len(split.items),
        items_total=split.items_total,
        passes=outcome.passes,
        seconds=outcome.seconds,
        device=settings.device,
        precision=settings.precision,
        backend=settings.backend,
        conversion=outcome.conversion,
        batch=settings.batch,
        processes=process.world,
        predictions=outcome.predictions.name,
        machine=machine,
        measured_at=now(),
        vlbench_version=__version__,
    )


def _bar(*, shown: bool) -> Progress:
    columns = (MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn())
    return progress_bars(*columns, shown=shown, redraws=True)


def _listener(bar: Progress) -> EvaluationListener:
    def begin(name: str, total: int) -> None:
        for task in bar.tasks:
            bar.update(task.id, completed=task.total)
        bar.add_task(name, total=total)

    def step(count: int) -> None:
        if bar.tasks:
            bar.advance(bar.tasks[-1].id, count)

    def message(line: str) -> None:
        if not bar.disable:
            print_above(bar, line)

    return EvaluationListener(begin=begin, step=step, message=message)

"""All models of one command: those that the results folder holds are kept, the others are evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vlbench.errors import InputError
from vlbench.evaluation.evaluate import EvaluationListener, EvaluationOutcome, evaluate, evaluation_hash
from vlbench.evaluation.images import region_channels
from vlbench.evaluation.processes import Process
from vlbench.evaluation.split import Split
from vlbench.evaluation.task_head import TaskHead
from vlbench.measure.machine import Machine
from vlbench.runner.aggregate import now
from vlbench.runner.records import Evaluation, Training
from vlbench.runner.store import Store, warn
from vlbench.runner.workload import probe
from vlbench.version import __version__


def evaluate_all(
    questions: Sequence[TaskHead],
    split: Split,
    folder: Path,
    *,
    process: Process,
    threads: int,
    training: Mapping[str, Training] | None = None,
) -> list[Evaluation]:
    """What came of each model, in their order; every process but the first gets none.

    `training` says of models by name what it took to train them here, and is recorded with what came of them.

    Raises InputError where the weights of a model are another's or something cannot be read; what was evaluated before
    is kept, and the answers so far, too.
    """
    torch.set_num_threads(max(1, threads // process.world))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 is fp32
    found: list[Evaluation] = []
    with _told_what_is_kept(folder, process), _store(folder, process) as store, _bar(shown=process.first) as bar:
        held = process.agree({one.evaluation_hash: one for one in store.results} if store else {})
        for asked in questions:
            key = evaluation_hash(asked, split)
            if key in held:
                warn_once(process, f"kept from {folder}: {asked.spec.name}; name another --out to evaluate it again")
                found.append(held[key])
                continue
            outcome = evaluate(asked, split, folder, process=process, listener=_listener(bar))
            if store is not None and outcome is not None:
                line = _record(asked, split, key, outcome, process, probe(threads))
                store.add(line.model_copy(update={"training": (training or {}).get(asked.spec.name)}))
                found.append(store.results[-1])
    return found


@contextmanager
def _told_what_is_kept(folder: Path, process: Process) -> Iterator[None]:
    """Says, where it ends early, that it can be gone on with."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        if any(path.stat().st_size for path in folder.glob("*.process-*.unfinished.jsonl")) or any(
            folder.glob("*.unfinished.npy")
        ):
            warn_once(process, f"the answers so far are kept: the same command with --out {folder} goes on")
        raise


@contextmanager
def _store(folder: Path, process: Process) -> Iterator[Store[Evaluation] | None]:
    """Only the first process writes."""
    if not process.first:
        yield None
        return
    with closing(Store(folder, Evaluation)) as store:
        try:
            yield store
        finally:
            if not store.path.stat().st_size:  # nothing came of it, so that nothing need be left behind
                store.path.unlink()
                with suppress(OSError):
                    folder.rmdir()


def warn_once(process: Process, message: str) -> None:
    if process.first:
        warn(message)


def _record(
    asked: TaskHead, split: Split, key: str, outcome: EvaluationOutcome, process: Process, machine: Machine
) -> Evaluation:
    settings, spec = split.settings, asked.spec
    regions = None
    if region_channels(spec):
        regions = "precomputed" if split.sees_features(spec) else "detector"
    described: dict[str, Any] = {
        "model": spec.name,
        "family": spec.family,
        "weights": spec.weights,
        "visual_weights": spec.visual.weights,
        "spec_hash": spec.hash(),
    }
    return Evaluation(
        **described,
        regions=regions,
        detector=outcome.detector,
        evaluation_hash=key,
        unfilled=outcome.unfilled,
        accuracy=outcome.accuracy,
        items=len(split.gallery.images) if split.gallery else len(split.items),
        of=split.of,
        passes=outcome.passes,
        seconds=outcome.seconds,
        device=settings.device,
        precision=settings.precision,
        batch=settings.batch,
        processes=process.world,
        predictions=outcome.predictions.name,
        machine=machine,
        measured_at=now(),
        vlbench_version=__version__,
    )


def _bar(*, shown: bool) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not shown)


def _listener(bar: Progress) -> EvaluationListener:
    def begin(name: str, total: int) -> None:
        for task in bar.tasks:
            bar.update(task.id, completed=task.total)
        bar.add_task(name, total=total)

    def step(count: int) -> None:
        if bar.tasks:
            bar.advance(bar.tasks[-1].id, count)

    def say(line: str) -> None:
        if not bar.disable:
            bar.console.print(line, soft_wrap=True)

    return EvaluationListener(begin=begin, step=step, say=say)

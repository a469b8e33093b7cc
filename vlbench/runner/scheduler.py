"""Measures cells in rounds, one restart of each in turn, so that a drift of the machine affects all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from vlbench.errors import InputError, WorkerError
from vlbench.measuring.machine import Machine
from vlbench.measuring.module_counts import ModuleCounts
from vlbench.measuring.records import Counts, Precision
from vlbench.runner.aggregate import RestartFailure, finished, series, summarise_cell, summarise_suppression
from vlbench.runner.cells import Cell
from vlbench.runner.nms_records import SuppressionCell, SuppressionRestart
from vlbench.runner.records import Conversion, Restart
from vlbench.runner.store import Measured, MemoryStore
from vlbench.runner.worker_client import SILENCE_SECONDS, Worker
from vlbench.specs import AnySpec

Listener = Callable[["CellRun"], None]


class CountRequest(NamedTuple):
    """A batch to be counted; the precision gives floating-point values their size in bytes."""

    spec: AnySpec
    batch: int
    precision: Precision


class CellRun:
    """A cell that is being measured: the restarts so far, and why there will be no more if it failed."""

    def __init__(self, cell: Cell | SuppressionCell, restarts: Sequence[dict[str, Any]] = ()) -> None:
        self.cell = cell
        self.restart_type: Any = SuppressionRestart if isinstance(cell, SuppressionCell) else Restart
        self.restarts = list(self._usable(restarts))
        self.spent_seconds = sum(sum(getattr(restart, "seconds_by_phase", {}).values()) for restart in self.restarts)
        self.failure: RestartFailure | None = None
        self.counts: Counts | None = None
        self.conversion: Conversion | None = None

    def _usable(self, restarts: Sequence[dict[str, Any]]) -> Iterator[Any]:
        """Those of a journal that hold samples, as restarts; damaged ones are measured again."""
        for content in restarts:
            with suppress(ValidationError):
                restart = self.restart_type.model_validate(content)
                samples = series(restart).values()
                if samples and all(samples):
                    yield restart

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def converts(self) -> bool:
        """Whether its model is converted first."""
        return isinstance(self.cell, Cell) and self.cell.is_converted

    @property
    def finished(self) -> bool:
        return self.failure is not None or finished(self.cell, self.restarts, self.spent_seconds)

    @property
    def share(self) -> float:
        """Of the budget that is spent, 0 to 1; 1 only when the cell is finished."""
        return 1.0 if self.finished else min(0.99, self.spent_seconds / self.cell.budget_seconds)

    def convert(self, worker: Worker, folder: Path) -> None:
        """Has the cell's backend convert the model, for all restarts; sets `failure` where that is not possible."""
        job = {"action": "convert", "cell": self.cell.model_dump(mode="json"), "folder": str(folder)}
        try:
            (message,) = worker.run_job(job)
        except (WorkerError, InputError) as error:
            self.failure = RestartFailure(str(error))
            return
        self.conversion = Conversion.model_validate(message["conversion"])
        if "invalid" in message:
            self.failure = RestartFailure(message["invalid"], "invalid")

    def restart(self, worker: Worker, folder: Path | None = None) -> Any:
        """Measures one more restart. Returns None, and sets `failure`, if that is not possible."""
        start = time.monotonic()
        job: dict[str, Any] = {"action": self.cell.action, "cell": self.cell.model_dump(mode="json")}
        if folder:
            job["folder"] = str(folder)
        try:
            (message,) = worker.run_job(job, self.cell.budget_seconds + SILENCE_SECONDS)
            if "invalid" in message:
                self.failure = RestartFailure(message["invalid"], "invalid")
                return None
            self.restarts.append(self.restart_type.model_validate(message["restart"]))
            return self.restarts[-1]
        except (WorkerError, InputError) as error:  # an InputError: weights of another model, for example
            self.failure = RestartFailure(str(error))
            return None
        finally:
            self.spent_seconds += time.monotonic() - start

    def summarise(self, machine: Machine) -> Any:
        if isinstance(self.cell, SuppressionCell):
            return summarise_suppression(self.cell, machine, self.restarts, self.failure)
        return summarise_cell(self.cell, machine, self.restarts, self.counts, self.failure, self.conversion)


def measure_rounds(
    cells: Sequence[Any],
    store: MemoryStore[Measured],
    machine: Machine,
    worker: Worker,
    listen: Listener = lambda run: None,
    folder: Path | None = None,
) -> Iterator[Measured]:
    """Yields the result of each cell as soon as it is finished, as the store keeps it in memory. It goes forth and back
    through the cells, one restart at a time.

    A cell that fails gets a result that says so; the others go on. Every restart and every result is in `store` before
    the next begins, so that a later run can continue from there whatever ends this one.

    Args:
        folder: where converted models are kept meanwhile; needed where a backend converts some.
    """
    unfinished = [CellRun(cell, store.restarts(cell.hash(), machine)) for cell in cells]
    add_counts(unfinished, worker, listen)
    while unfinished:
        for run in list(unfinished):
            listen(run)
            if not run.finished:
                converted = folder / run.cell.hash() if folder and run.converts else None
                if converted and run.conversion is None:
                    run.convert(worker, converted)
                restart = None if run.failure else run.restart(worker, converted)
                if restart is not None:
                    store.keep_restart(run.cell.hash(), machine, restart)
            if run.finished:
                unfinished.remove(run)
                store.add(run.summarise(machine))
                listen(run)
                yield store.results[-1]
        unfinished.reverse()
    if all(result.status == "ok" for result in store.results[-len(cells) :]):
        store.drop_journal()


def add_counts(runs: Sequence[CellRun], worker: Worker, listen: Listener = lambda run: None) -> None:
    """Counts the models of all cells, in a process of its own: counting could slow down what is timed after it."""
    models = [(run, run.cell) for run in runs if isinstance(run.cell, Cell)]
    try:
        counts = count_specs([CountRequest(cell.spec, cell.batch, cell.precision) for _, cell in models], worker)
    except WorkerError as error:
        counts = [str(error)] * len(models)
    for (run, _), count in zip(models, counts, strict=True):
        if isinstance(count, str):
            run.failure = RestartFailure(count)
        else:
            run.counts = count
        listen(run)


def count_specs(
    requests: Sequence[CountRequest], worker: Worker, report: Callable[[str], None] = lambda name: None
) -> list[Counts | str]:
    """The counts of each request, or why it cannot be counted. Raises WorkerError where the worker fails."""
    counts = _counted("count", requests, worker, report)
    return [count if isinstance(count, str) else Counts.model_validate(count) for count in counts]


def count_modules(
    requests: Sequence[CountRequest],
    counters: Sequence[str],
    worker: Worker,
    report: Callable[[str], None] = lambda name: None,
) -> list[ModuleCounts | str]:
    """The same by module and by several counters, which all count in fp32."""
    counts = _counted("count_modules", requests, worker, report, counters=list(counters))
    return [count if isinstance(count, str) else ModuleCounts.model_validate(count) for count in counts]


def _counted(
    action: str, requests: Sequence[CountRequest], worker: Worker, report: Callable[[str], None], **options: Any
) -> list[Any]:
    if not requests:
        return []
    jobs = [request._asdict() | {"spec": request.spec.model_dump(mode="json")} for request in requests]
    for message in worker.run_job({"action": action, "jobs": jobs, **options}):
        if "phase" in message:
            report(message["phase"])
        else:
            counts = message["counts"]
    return list(counts)

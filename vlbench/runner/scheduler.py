"""Measures cells in rounds: one restart of each in turn, so that a drift of the machine reaches all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from vlbench.errors import InputError, WorkerError
from vlbench.measure.machine import Machine
from vlbench.measure.records import Counts, Precision
from vlbench.runner.aggregate import RestartFailure, finished, summarise_cell, summarise_suppression
from vlbench.runner.cells import Cell
from vlbench.runner.nms_records import SuppressionCell, SuppressionRestart
from vlbench.runner.records import Restart
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
    """A cell on its way: the restarts so far, and why there are no more where that is so."""

    def __init__(self, cell: Cell | SuppressionCell, restarts: Sequence[dict[str, Any]] = ()) -> None:
        self.cell = cell
        kind = SuppressionRestart if isinstance(cell, SuppressionCell) else Restart
        self.kind: Any = kind
        self.restarts: list[Any] = [kind.model_validate(restart) for restart in restarts]
        self.spent_seconds = sum(sum(getattr(one, "seconds_by_phase", {}).values()) for one in self.restarts)
        self.failure: RestartFailure | None = None
        self.counts: Counts | None = None

    @property
    def name(self) -> str:
        return self.cell.name

    @property
    def finished(self) -> bool:
        return self.failure is not None or finished(self.cell, self.restarts, self.spent_seconds)

    @property
    def share(self) -> float:
        """How far it is, 0 to 1, if it takes all its budget."""
        return 1.0 if self.finished else min(0.99, self.spent_seconds / self.cell.budget_seconds)

    def restart(self, worker: Worker) -> Any:
        """One more restart; None, with the reason in `failure`, where there is none."""
        start = time.monotonic()
        job = {"action": self.cell.action, "cell": self.cell.model_dump(mode="json")}
        try:
            (message,) = worker.ask(job, self.cell.budget_seconds + SILENCE_SECONDS)
            if "invalid" in message:
                self.failure = RestartFailure(message["invalid"], "invalid")
                return None
            self.restarts.append(self.kind.model_validate(message["restart"]))
            return self.restarts[-1]
        except (WorkerError, InputError) as error:  # such as weights that turn out to be another model's
            self.failure = RestartFailure(str(error))
            return None
        finally:
            self.spent_seconds += time.monotonic() - start

    def summarise(self, machine: Machine) -> Any:
        if isinstance(self.cell, SuppressionCell):
            return summarise_suppression(self.cell, machine, self.restarts, self.failure)
        return summarise_cell(self.cell, machine, self.restarts, self.counts, self.failure)


def measure_rounds(
    cells: Sequence[Any],
    store: MemoryStore[Measured],
    machine: Machine,
    worker: Worker,
    listen: Listener = lambda measuring: None,
) -> Iterator[Measured]:
    """The line of each cell, as each is finished; forth and back through the cells, one restart at a time.

    A cell that fails is a line that says so; the others go on. Every restart and every line is in `store` before the
    next begins, so whatever ends this process, or fails a cell, the next run goes on from there.
    """
    waiting = [CellRun(cell, store.restarts(cell.hash(), machine)) for cell in cells]
    count_into(waiting, worker, listen)
    while waiting:
        for measuring in list(waiting):
            listen(measuring)
            if not measuring.finished:
                restart = measuring.restart(worker)
                if restart is not None:
                    store.keep_restart(measuring.cell.hash(), machine, restart)
            if measuring.finished:
                waiting.remove(measuring)
                result = measuring.summarise(machine)
                store.add(result)
                listen(measuring)
                yield result
        waiting.reverse()
    if all(result.status == "ok" for result in store.results[-len(cells) :]):
        store.drop_journal()


def count_into(measured: Sequence[CellRun], worker: Worker, listen: Listener = lambda measuring: None) -> None:
    """Counts what the models cost, in a process of its own: counting could slow down what is timed after it."""
    models = [(one, one.cell) for one in measured if isinstance(one.cell, Cell)]
    try:
        counts = count_specs([CountRequest(cell.spec, cell.batch, cell.precision) for _, cell in models], worker)
    except WorkerError as error:
        counts = [str(error)] * len(models)
    for (measuring, _), found in zip(models, counts, strict=True):
        if isinstance(found, str):
            measuring.failure = RestartFailure(found)
        else:
            measuring.counts = found
        listen(measuring)


def count_specs(
    requests: Sequence[CountRequest], worker: Worker, report: Callable[[str], None] = lambda name: None
) -> list[Counts | str]:
    """The counts of each request, or why it cannot be counted. Raises WorkerError where the worker fails."""
    if not requests:
        return []
    jobs = [request._asdict() | {"spec": request.spec.model_dump(mode="json")} for request in requests]
    for message in worker.ask({"action": "count", "jobs": jobs}):
        if "phase" in message:
            report(message["phase"])
        else:
            counts = message["counts"]
    return [found if isinstance(found, str) else Counts.model_validate(found) for found in counts]

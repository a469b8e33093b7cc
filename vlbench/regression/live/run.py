"""Measures base against head live: in lockstep, next to a control, and a second time before a change is reported."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlbench.errors import HeadError, InputError, WorkerError
from vlbench.measuring.machine import Machine
from vlbench.measuring.rank_tests import least_pairs
from vlbench.measuring.records import Counts
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.effects import Effect, paired
from vlbench.regression.compare.outcomes import Comparison, Thresholds
from vlbench.regression.compare.verdicts import confidence_for, decide
from vlbench.regression.live.lockstep import Member, convert_member, replicate
from vlbench.regression.live.progress import LiveProgress, Report
from vlbench.regression.live.record import (
    BASE,
    CONTROL,
    HEAD,
    LIVE_SCHEMA,
    Confirmation,
    LiveComparison,
    LiveFailure,
    LiveWorkload,
    Replicate,
    base_medians,
    callable_result,
    medians,
    sides_of,
    why_disturbed,
)
from vlbench.regression.live.sides import Side
from vlbench.regression.live.verdicts import contention, is_biased, with_controls, with_failures
from vlbench.runner.aggregate import now
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.records import Result
from vlbench.runner.worker_client import Worker, probe_machine
from vlbench.system.temporary import temporary_folder

FIRST_SHARE = 0.6  # of the budget; the rest is for the confirmation
LEAST_FIRST, MOST_FIRST, MOST_CONFIRMING = 8, 20, 12  # replicates of each set
LEAST_CONFIRMING, CONFIRMING_CONFIDENCE = 8, 0.95  # the probability that both sets err is the product of theirs
LOOK_EVERY = 4  # replicates, while the verdict of the first set is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRequest:
    """What is compared.

    Attributes:
        models, callables: names of the workloads.
        settings: of both sides; a side's own options are added to them.
        image, text: the example; None for the default.
        budget_seconds: for each workload, its confirmation included.
    """

    models: Sequence[str] = ()
    callables: Sequence[str] = ()
    settings: Mapping[str, Any]
    image: str | None = None
    text: str | None = None
    thresholds: Thresholds
    budget_seconds: float


@contextmanager
def start_workers(request: LiveRequest, base: Side, head: Side) -> Iterator[dict[str, Worker]]:
    """Starts a worker for each member. Raises InputError if a side's vlbench speaks another version of the protocol."""
    for side in (base, head):
        side.check()
    with ExitStack() as stack:
        workers = {}
        for member, side in ((BASE, base), (CONTROL, base), (HEAD, head)):
            settings = _settings(request, side)
            workers[member] = stack.enter_context(side.worker(settings["threads"], settings.get("device", "auto")))
        for worker in workers.values():
            worker.start()
        yield workers


def compare_live(
    request: LiveRequest,
    base: Side,
    head: Side,
    workers: Mapping[str, Worker],
    report: Report = lambda progress: None,
) -> LiveComparison:
    """Measures every workload with the workers of `start_workers`, and compares.

    If one workload fails on a side, the others are still measured. If none can be measured, it raises InputError for
    input that a side refuses, HeadError if only the head fails, and WorkerError otherwise.
    """
    names = [*request.models, *request.callables]
    machine = probe_machine(_settings(request, base)["threads"], workers[BASE])
    sides = {BASE: base, CONTROL: base, HEAD: head}
    with temporary_folder() as folder:
        runs = [
            _WorkloadRun(request, name, len(names), machine, workers, sides, folder / str(index))
            for index, name in enumerate(names)
        ]
        workloads, failed = _measured(runs, report)
    pairs = [(workload.base, workload.head) for workload in workloads]
    comparison = with_controls(_compared(pairs, base, head, request), workloads)
    return LiveComparison(
        schema=LIVE_SCHEMA,
        comparison=with_failures(comparison, failed),
        workloads=tuple(workloads),
        failed=tuple(failed),
        machine=machine,
        measured_at=now(),
    )


def _measured(runs: Sequence[_WorkloadRun], report: Report) -> tuple[list[LiveWorkload], list[LiveFailure]]:
    """The workloads that could be measured, and why the others could not. Raises the last one's error if none could."""
    workloads: list[LiveWorkload] = []
    failed: list[LiveFailure] = []
    for run in runs:
        try:
            workloads.append(run.measure(report))
        except (InputError, WorkerError) as error:
            failed.append(run.failure(error))
            if len(failed) < len(runs):
                continue
            if isinstance(error, WorkerError) and any(failure.head_only for failure in failed):
                raise HeadError(str(error)) from error
            raise
    return workloads, failed


def _settings(request: LiveRequest, side: Side) -> dict[str, Any]:
    return {**request.settings, **{key: value for key, value in side.options.items() if key not in ("image", "text")}}


def _workload(request: LiveRequest, name: str, side: Side) -> dict[str, Any]:
    """A workload, as a worker understands it."""
    if name in request.callables:
        return {"callable": side.function or name, "settings": _settings(request, side)}
    inputs = {"image": request.image, "text": request.text} | {
        key: str(value) for key, value in side.options.items() if key in ("image", "text")
    }
    return {"model": name, "settings": _settings(request, side), **inputs}


def _compared(pairs: Sequence[tuple[Result, Result]], base: Side, head: Side, request: LiveRequest) -> Comparison:
    labels = (base.label, head.label)
    first, second = zip(*pairs, strict=True)
    return compare(first, second, names=labels, thresholds=request.thresholds, force=True, estimator=paired)


class _WorkloadRun:
    """One workload that is being measured and judged; `folder` is for converted models, one of each member."""

    def __init__(
        self,
        request: LiveRequest,
        name: str,
        workload_count: int,
        machine: Machine,
        workers: Mapping[str, Worker],
        sides: Mapping[str, Side],
        folder: Path,
    ) -> None:
        self.request, self.name, self.machine = request, name, machine
        self.described = {member: self._describe(sides[member], workers[member]) for member in (BASE, HEAD)}
        self.members = [
            Member(
                name=member,
                worker=worker,
                workload=_workload(request, name, sides[member]) | {"folder": str(folder / member)},
                device=self.described[HEAD if member == HEAD else BASE].device,
            )
            for member, worker in workers.items()
        ]
        self.confidence = confidence_for(workload_count)
        self.least = max(LEAST_FIRST, least_pairs(1 - self.confidence))
        self.threshold = request.thresholds.of(self.described[BASE].model)
        self.replicates: list[Replicate] = []
        self.number = 0  # of the next replicate
        self.start = 0.0

    def measure(self, report: Report) -> LiveWorkload:
        for member in self.members:
            conversion = convert_member(member)
            if conversion and member.name in self.described:
                self.described[member.name] = self.described[member.name].model_copy(update={"conversion": conversion})
        self.start = time.monotonic()
        self._add_replicates(self.least, MOST_FIRST, FIRST_SHARE, report)
        while self._verdict() == "unknown" and self._spent() < 1:
            count = len(self.replicates) + LOOK_EVERY
            self._add_replicates(count, count, 1.0, report)
        first, verdict, confirmation = list(self.replicates), self._verdict(), None
        if verdict in ("slower", "faster"):
            self._add_replicates(len(first) + LEAST_CONFIRMING, len(first) + MOST_CONFIRMING, 1.0, report)
            confirmation = self._confirmation(self.replicates[len(first) :], verdict)
        control = paired(medians(self.replicates, BASE), medians(self.replicates, CONTROL), self.confidence)
        base, head = sides_of(self.replicates, self.described[BASE], self.described[HEAD])
        return LiveWorkload(
            name=self.name,
            base=base,
            head=head,
            replicates=tuple(first),
            confirmation_replicates=tuple(self.replicates[len(first) :]),
            control=control,
            biased=is_biased(control, self.threshold),
            disturbed=contention(self.replicates),
            confirmation=confirmation,
        )

    def failure(self, error: Exception) -> LiveFailure:
        """The record of `measure` having raised `error`. Tries each side by itself, to see if only the head fails."""
        failing = set()
        for member in self.members:
            member.worker.end()  # it may still wait for its next block
        for member in self.members:
            try:
                convert_member(member)
                replicate([member], 0)
            except (InputError, WorkerError):
                failing.add(member.name)
            member.worker.end()
        return LiveFailure(name=self.name, threshold=self.threshold, reason=str(error), head_only=failing == {HEAD})

    def _describe(self, side: Side, worker: Worker) -> Result:
        """The side's model and its counts, by the side's own code; without a latency."""
        workload = _workload(self.request, self.name, side)
        if self.name in self.request.callables:
            return callable_result(self.name, self.machine, workload["settings"]["threads"])
        try:
            (message,) = worker.run_job({"action": "describe", "workload": workload})
        except (InputError, WorkerError) as error:
            raise type(error)(f"{side.name} ({side.label}): {error}") from error
        cell, counts = Cell.model_validate(message["cell"]), Counts.model_validate(message["counts"])
        machine = Machine.model_validate(message["machine"])
        return blank_result(cell, machine, status="ok", measured_at=now(), **counts.model_dump(exclude={"text_tokens"}))

    def _add_replicates(self, least: int, most: int, share: float, report: Report) -> None:
        """Measures until there are `most` replicates, or at least `least` and that share of the budget is spent.

        A disturbed replicate is measured again while that share lasts.
        """
        while len(self.replicates) < least or (len(self.replicates) < most and self._spent() < share):
            report(self._progress())
            measured = replicate(self.members, self.number)
            self.members = [replace(each, device=measured[each.name].device) for each in self.members]
            self.number += 1
            if why_disturbed(measured) is None or self._spent() >= share:
                self.replicates.append(measured)

    def _progress(self) -> LiveProgress:
        count = len(self.replicates)
        seconds = (time.monotonic() - self.start) / self.number if self.number else None
        return LiveProgress(
            name=self.name,
            replicates=count,
            least=self.least,
            seconds=seconds,
            effect=self._effect() if count else None,
        )

    def _spent(self) -> float:
        """The share of the budget, which may exceed 1."""
        return (time.monotonic() - self.start) / self.request.budget_seconds

    def _effect(self) -> Effect:
        return paired(base_medians(self.replicates), medians(self.replicates, HEAD), self.confidence)

    def _verdict(self) -> str:
        return self._judged(self._effect(), len(self.replicates), self.confidence)

    def _confirmation(self, replicates: Sequence[Replicate], verdict: str) -> Confirmation:
        """Whether these replicates by themselves give the same verdict."""
        effect = paired(base_medians(replicates), medians(replicates, HEAD), CONFIRMING_CONFIDENCE)
        again = self._judged(effect, len(replicates), CONFIRMING_CONFIDENCE)
        return Confirmation(effect=effect, confirmed=again == verdict)

    def _judged(self, effect: Effect, count: int, confidence: float) -> str:
        return decide(effect, self.threshold, restarts=(count, count), confidence=confidence, least=least_pairs).verdict

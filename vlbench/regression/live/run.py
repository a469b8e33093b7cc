"""Measures base against head live: in lockstep, beside a control, and once more before anything is called slower."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from vlbench.errors import HeadError, InputError, WorkerError
from vlbench.measure.machine import Machine
from vlbench.measure.rank_tests import least_pairs
from vlbench.measure.records import Counts
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.effects import Effect, paired
from vlbench.regression.compare.outcomes import Comparison, Thresholds
from vlbench.regression.compare.verdicts import confidence_for, decide
from vlbench.regression.live.lockstep import Member, replicate
from vlbench.regression.live.record import (
    BASE,
    CONTROL,
    HEAD,
    LIVE_SCHEMA,
    Confirmation,
    LiveComparison,
    LiveFailure,
    LiveSubject,
    Replicate,
    base_medians,
    medians,
    sides_of,
    why_disturbed,
)
from vlbench.regression.live.sides import Side
from vlbench.regression.live.verdicts import contention, is_biased, with_controls, with_failures
from vlbench.runner import schemas
from vlbench.runner.aggregate import now
from vlbench.runner.cells import Cell, blank_result
from vlbench.runner.records import Result
from vlbench.runner.worker_client import Worker, probe_machine

FIRST_SHARE = 0.6  # of the budget; the rest is for the confirmation
MOST_FIRST, MOST_CONFIRMING = 20, 12
LEAST_CONFIRMING, CONFIRMING_CONFIDENCE = 8, 0.95  # the chance of both sets erring is the product of theirs
LOOK_EVERY = 4  # replicates, where the first set could not tell
Report = Callable[[str, int, Effect | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRequest:
    """What is compared. `models` and `callables` name the subjects; `settings` are those of both sides.

    Each side's own options come on top of `settings`; `budget_seconds` is for one subject, the confirmation included.
    """

    models: Sequence[str] = ()
    callables: Sequence[str] = ()
    settings: Mapping[str, Any]
    image: str | None = None
    text: str | None = None
    thresholds: Thresholds
    budget_seconds: float


@contextmanager
def started(request: LiveRequest, base: Side, head: Side) -> Iterator[dict[str, Worker]]:
    """A worker of each member, all at their imports. Raises InputError where a side's vlbench is another generation."""
    for side in (base, head):
        side.check()
    with ExitStack() as stack:
        workers = {
            member: stack.enter_context(side.worker(_settings(request, side)["threads"]))
            for member, side in ((BASE, base), (CONTROL, base), (HEAD, head))
        }
        for worker in workers.values():
            worker.start()
        yield workers


def run(
    request: LiveRequest,
    base: Side,
    head: Side,
    workers: Mapping[str, Worker],
    report: Report = lambda name, count, effect: None,
) -> LiveComparison:
    """Measures every subject with workers that `started` gave, and compares.

    Where a side fails at one subject, the others are measured all the same. Where none can be measured, raises
    InputError if a side cannot have what is asked, HeadError if the base can be measured alone, WorkerError otherwise.
    """
    names = [*request.models, *request.callables]
    machine = probe_machine(_settings(request, base)["threads"], workers[BASE])
    sides = {BASE: base, CONTROL: base, HEAD: head}
    asked = [_Lockstep(request, name, len(names), machine, workers, sides) for name in names]
    subjects: list[LiveSubject] = []
    failed: list[LiveFailure] = []
    for one in asked:
        try:
            subjects.append(one.run(report))
        except (InputError, WorkerError) as error:
            failed.append(one.failure(error))
            if len(failed) < len(asked):
                continue
            if isinstance(error, WorkerError) and any(failure.head_alone for failure in failed):
                raise HeadError(str(error)) from error
            raise
    comparison = with_controls(_compared([(one.base, one.head) for one in subjects], base, head, request), subjects)
    return LiveComparison(
        schema=LIVE_SCHEMA,
        comparison=with_failures(comparison, failed),
        subjects=tuple(subjects),
        failed=tuple(failed),
        machine=machine,
        measured_at=now(),
    )


def _settings(request: LiveRequest, side: Side) -> dict[str, Any]:
    return {**request.settings, **{key: value for key, value in side.options.items() if key not in ("image", "text")}}


def _wanted(request: LiveRequest, name: str, side: Side) -> dict[str, Any]:
    """A subject, as a worker understands it."""
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


class _Lockstep:
    """One subject on its way to a verdict."""

    def __init__(
        self,
        request: LiveRequest,
        name: str,
        subjects: int,
        machine: Machine,
        workers: Mapping[str, Worker],
        sides: Mapping[str, Side],
    ) -> None:
        self.request, self.name, self.machine = request, name, machine
        self.members = [
            Member(name=member, worker=worker, subject=_wanted(request, name, sides[member]))
            for member, worker in workers.items()
        ]
        self.described = {member: self._describe(sides[member], workers[member]) for member in (BASE, HEAD)}
        self.confidence = confidence_for(subjects)
        self.threshold = request.thresholds.of(self.described[BASE].model)
        self.taken: list[Replicate] = []
        self.number = 0
        self.start = 0.0

    def run(self, report: Report) -> LiveSubject:
        self.start = time.monotonic()
        least = max(8, least_pairs(1 - self.confidence))
        self._take(least, MOST_FIRST, FIRST_SHARE, report)
        while self._verdict() == "unknown" and self._spent() < 1:
            self._take(len(self.taken) + LOOK_EVERY, len(self.taken) + LOOK_EVERY, 1.0, report)
        first, confirmation = list(self.taken), None
        if self._verdict() in ("slower", "faster"):
            wanted = self._verdict()
            self._take(len(first) + LEAST_CONFIRMING, len(first) + MOST_CONFIRMING, 1.0, report)
            confirmation = self._confirmation(self.taken[len(first) :], wanted)
        control = paired(medians(self.taken, BASE), medians(self.taken, CONTROL), self.confidence)
        base, head = sides_of(self.taken, self.described[BASE], self.described[HEAD])
        return LiveSubject(
            name=self.name,
            base=base,
            head=head,
            replicates=tuple(first),
            confirming=tuple(self.taken[len(first) :]),
            control=control,
            biased=is_biased(control, self.threshold),
            disturbed=contention(self.taken),
            confirmation=confirmation,
        )

    def failure(self, error: Exception) -> LiveFailure:
        """After `run` raised: tries each side by itself, to see whether the head alone is at fault."""
        failing = set()
        for member in self.members:
            member.worker.end()  # it may still wait for its next block
        for member in self.members:
            try:
                replicate([member], 0)
            except (InputError, WorkerError):
                failing.add(member.name)
            member.worker.end()
        return LiveFailure(name=self.name, threshold=self.threshold, reason=str(error), head_alone=failing == {HEAD})

    def _describe(self, side: Side, worker: Worker) -> Result:
        """The side's model and its counts, as its own code has them; no latency yet."""
        wanted = _wanted(self.request, self.name, side)
        if self.name in self.request.callables:
            return callable_result(self.name, self.machine, wanted["settings"]["threads"])
        try:
            (message,) = worker.ask({"action": "describe", "subject": wanted})
        except (InputError, WorkerError) as error:
            raise type(error)(f"{side.name} ({side.label}): {error}") from error
        cell, counts = Cell.model_validate(message["cell"]), Counts.model_validate(message["counts"])
        machine = Machine.model_validate(message["machine"])
        return blank_result(cell, machine, status="ok", measured_at=now(), **counts.model_dump(exclude={"text_tokens"}))

    def _take(self, least: int, most: int, share: float, report: Report) -> None:
        """Replicates until there are `most`, or at least `least` and that share of the budget is spent.

        One that something else disturbed is measured again while that share lasts.
        """
        while len(self.taken) < least or (len(self.taken) < most and self._spent() < share):
            report(self.name, len(self.taken), self._effect() if self.taken else None)
            one = replicate(self.members, self.number)
            self.number += 1
            if why_disturbed(one) is None or self._spent() >= share:
                self.taken.append(one)

    def _spent(self) -> float:
        return (time.monotonic() - self.start) / self.request.budget_seconds

    def _effect(self) -> Effect:
        return paired(base_medians(self.taken), medians(self.taken, HEAD), self.confidence)

    def _verdict(self) -> str:
        return self._decided(self._effect(), len(self.taken), self.confidence)

    def _confirmation(self, taken: Sequence[Replicate], wanted: str) -> Confirmation:
        effect = paired(base_medians(taken), medians(taken, HEAD), CONFIRMING_CONFIDENCE)
        found = self._decided(effect, len(taken), CONFIRMING_CONFIDENCE)
        return Confirmation(effect=effect, confirmed=found == wanted)

    def _decided(self, effect: Effect, count: int, confidence: float) -> str:
        return decide(effect, self.threshold, restarts=(count, count), confidence=confidence, least=least_pairs).verdict


def callable_result(name: str, machine: Machine, threads: int) -> Result:
    """A function has neither spec nor input: its result holds times alone."""
    from vlbench.version import __version__  # noqa: PLC0415  the package imports this module

    return Result(
        schema=schemas.RESULT_SCHEMA,
        model=name,
        family="function",
        archetype=None,
        status="ok",
        device="cpu",
        precision="-",
        backend="-",
        batch=1,
        image_size=(0, 0),
        text_tokens=0,
        weights="-",
        machine=machine.model_copy(update={"threads": threads}),
        image_sha256="",
        text="",
        budget_seconds=0,
        seed=0,
        spec_hash="",
        cell_hash="",
        measured_at=now(),
        vlbench_version=__version__,
    )

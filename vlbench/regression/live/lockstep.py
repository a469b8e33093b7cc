"""Lockstep: live processes of several sides measured in turn, block by block, so that what the machine does, it does to
all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.errors import InputError, WorkerError
from vlbench.measure.affinity import core_sets
from vlbench.measure.machine import usable_cores
from vlbench.regression.live.record import LiveSamples, Replicate
from vlbench.runner.schemas import CACHE_MS
from vlbench.runner.worker_client import SILENCE_SECONDS, Worker

WARM_UP_SECONDS = 2.0
TURN_MS, MOST_PASSES, SECONDS_A_REPLICATE = 20, 100, 0.2  # of one member, end to end
MOST_CYCLES = 6  # every order of three members once


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One of those that are measured together."""

    name: str
    worker: Worker
    subject: Mapping[str, Any]  # with its settings, of which `threads` is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a replicate is cut into turns: passes of one member before the next has its own."""

    discarded: int
    end_to_end: int
    by_stage: int
    cycles: int


def pace_for(pass_ms: float) -> Pace:
    """Short turns, so that what disturbs one disturbs all; the first pass of each, untimed, refills the caches."""
    passes = min(MOST_PASSES, max(1, round(TURN_MS / max(pass_ms, 1e-3))))
    cycles = min(MOST_CYCLES, max(1, round(SECONDS_A_REPLICATE * 1e3 / (passes * pass_ms))))
    return Pace(
        discarded=1 if pass_ms < CACHE_MS else 0, end_to_end=passes, by_stage=max(1, passes // 2), cycles=cycles
    )


def replicate(members: Sequence[Member], number: int) -> Replicate:
    """One fresh process of each member, measured in turn on the same cores; `number` decides which, and who begins.

    Raises InputError where a member refuses its settings, WorkerError where one fails; both name the member.
    """
    orders = orders_of(members)
    ready = _attend(orders[number % len(orders)])
    _confine(members, number)
    pace = pace_for(max(message["pass_ms"] for message in ready.values()))
    latency_ms: dict[str, list[float]] = {member.name: [] for member in members}
    by_stage: dict[str, dict[str, list[float]]] = {member.name: {} for member in members}
    block = {"discarded": pace.discarded, "end_to_end": pace.end_to_end, "by_stage": pace.by_stage}
    for cycle in range(pace.cycles):
        for member in orders[(number * pace.cycles + cycle) % len(orders)]:
            answer = _answer(member, block)
            latency_ms[member.name] += answer["latency_ms"]
            for stage, samples in answer["latency_ms_by_stage"].items():
                by_stage[member.name].setdefault(stage, []).extend(samples)
    interference = {}
    for member in members:
        interference[member.name] = _answer(member, {"end": True})["interference"]
        member.worker.receive(SILENCE_SECONDS)
    return {
        member.name: LiveSamples(
            latency_ms=tuple(latency_ms[member.name]),
            latency_ms_by_stage={stage: tuple(samples) for stage, samples in by_stage[member.name].items()},
            peak_memory_bytes=ready[member.name]["peak_memory_bytes"],
            steady=ready[member.name]["steady"],
            interference=interference[member.name],
        )
        for member in members
    }


def orders_of(members: Sequence[Member]) -> list[Sequence[Member]]:
    """As many as there are members put each in each place once; as many again do so the other way round."""
    rotated = [(*members[start:], *members[:start]) for start in range(len(members))]
    return [*rotated, *(order[::-1] for order in rotated)]


def _confine(members: Sequence[Member], number: int) -> None:
    """Gives the processes of all members the same cores; the next replicate gets the next ones."""
    if any(member.subject["settings"].get("device", "cpu") != "cpu" for member in members):
        return
    sets = core_sets(max(member.subject["settings"]["threads"] for member in members))
    for member in members if sets else ():
        member.worker.confine(sets[number % len(sets)])


def _attend(members: Sequence[Member]) -> dict[str, dict[str, Any]]:
    """Has every member build and warm up: side by side where there are cores for that, since nothing is timed yet."""
    at_once = 2 * max(member.subject["settings"]["threads"] for member in members) <= usable_cores()
    for member in members if at_once else ():
        member.worker.send(_invitation(member))
    return {member.name: _ready(member, None if at_once else _invitation(member)) for member in members}


def _invitation(member: Member) -> dict[str, Any]:
    return {"action": "attend", "subject": dict(member.subject), "warm_up_seconds": WARM_UP_SECONDS}


def _ready(member: Member, invitation: dict[str, Any] | None) -> dict[str, Any]:
    answer = _answer(member, invitation)
    if "invalid" in answer:
        raise WorkerError(f"{member.name}: {answer['invalid']}")
    return answer["ready"]


def _answer(member: Member, message: Mapping[str, Any] | None) -> dict[str, Any]:
    """The next answer; to `message`, unless that has been sent before."""
    try:
        if message is not None:
            member.worker.send(message)
        answer = member.worker.receive(SILENCE_SECONDS)
    except WorkerError as error:
        raise WorkerError(f"{member.name}: {error}") from error
    if "refused" in answer:
        raise InputError(f"{member.name}: {answer['refused']}")
    if "failed" in answer or "ended" in answer:
        raise WorkerError(f"{member.name}: {answer.get('failed') or member.worker.why_it_died(answer['ended'])}")
    return answer

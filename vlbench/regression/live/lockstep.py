"""Lockstep: processes of several sides are measured in turn, block by block, so that whatever disturbs the machine
affects all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlbench.errors import InputError, WorkerError
from vlbench.measuring.machine import core_sets, usable_cores
from vlbench.regression.live.record import LiveSamples, Replicate
from vlbench.runner.backends import EAGER, is_converted
from vlbench.runner.records import Conversion
from vlbench.runner.schemas import CACHE_MS
from vlbench.runner.worker_client import SILENCE_SECONDS, Worker

WARM_UP_SECONDS = 2.0
TURN_MS, MOST_PASSES, SECONDS_A_REPLICATE = 20, 100, 0.2  # of one member, end to end
MOST_CYCLES = 6  # every order of three members once


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A process that is measured together with others: `base`, its `control`, or `head`."""

    name: str
    worker: Worker
    workload: Mapping[str, Any]  # as a worker understands it; its settings include `threads`
    device: str = "cpu"  # where it computes; of a function that is known once it ran

    @property
    def is_converted(self) -> bool:
        """Whether a backend converts its model."""
        settings = {"backend": EAGER, "precision": "fp32", **self.workload["settings"]}
        return "model" in self.workload and is_converted(settings["backend"], settings["precision"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a replicate is cut into turns.

    Attributes:
        discarded: passes at the start of a turn that are not timed.
        end_to_end: timed passes of a turn, with nothing hooked.
        by_stage: timed passes of a turn, by stage.
        cycles: turns of each member.
    """

    discarded: int
    end_to_end: int
    by_stage: int
    cycles: int


def pace_for(pass_ms: float) -> Pace:
    """Short turns, so that a disturbance affects all members. The first pass of a turn refills the caches, untimed."""
    passes = min(MOST_PASSES, max(1, round(TURN_MS / max(pass_ms, 1e-3))))
    cycles = min(MOST_CYCLES, max(1, round(SECONDS_A_REPLICATE * 1e3 / (passes * pass_ms))))
    return Pace(
        discarded=1 if pass_ms < CACHE_MS else 0, end_to_end=passes, by_stage=max(1, passes // 2), cycles=cycles
    )


def convert_member(member: Member) -> Conversion | None:
    """Has a member's backend convert its model into the folder of its workload; None where none does.

    Raises InputError and WorkerError as `replicate` does, also where the converted model computes something else.
    """
    if not member.is_converted:
        return None
    job = {"action": "convert", "workload": dict(member.workload), "folder": member.workload["folder"]}
    try:
        (answer,) = member.worker.run_job(job)
    except (InputError, WorkerError) as error:
        raise type(error)(f"{member.name}: {error}") from error
    if "invalid" in answer:
        raise WorkerError(f"{member.name}: {answer['invalid']}")
    return Conversion.model_validate(answer["conversion"])


def replicate(members: Sequence[Member], number: int) -> Replicate:
    """Measures one fresh process of each member, in turn, on the same cores.

    `number` decides which cores, and which member begins. Raises InputError if a member refuses its settings, and
    WorkerError if one fails; both name the member.
    """
    orders = orders_of(members)
    ready = _prepare(orders[number % len(orders)])
    _confine(members, number)
    pace = pace_for(max(message["pass_ms"] for message in ready.values()))
    latency_ms: dict[str, list[float]] = {member.name: [] for member in members}
    by_stage: dict[str, dict[str, list[float]]] = {member.name: {} for member in members}
    pids = [message["pid"] for message in ready.values()]
    for member in members:
        member.worker.send({"members": pids})
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
            device=ready[member.name]["device"],
            interference=interference[member.name],
        )
        for member in members
    }


def orders_of(members: Sequence[Member]) -> list[Sequence[Member]]:
    """Orders of the members: every rotation, then every rotation reversed. Each member takes every position equally
    often."""
    rotated = [(*members[start:], *members[:start]) for start in range(len(members))]
    return [*rotated, *(order[::-1] for order in rotated)]


def _confine(members: Sequence[Member], number: int) -> None:
    """Restricts the processes of all members to the same cores; the next replicate gets the next cores."""
    if any(member.device != "cpu" for member in members):
        return
    sets = core_sets(max(member.workload["settings"]["threads"] for member in members))
    for member in members if sets else ():
        member.worker.confine(sets[number % len(sets)])


def _prepare(members: Sequence[Member]) -> dict[str, dict[str, Any]]:
    """Builds and warms up every member. Nothing is timed yet, so all do it at once if there are enough cores; on a GPU
    in turn, as one that others use never becomes steady."""
    enough_cores = 2 * max(member.workload["settings"]["threads"] for member in members) <= usable_cores()
    at_once = enough_cores and all(member.device == "cpu" for member in members)
    for member in members if at_once else ():
        member.worker.send(_serve_blocks(member))
    return {member.name: _ready(member, None if at_once else _serve_blocks(member)) for member in members}


def _serve_blocks(member: Member) -> dict[str, Any]:
    return {"action": "serve_blocks", "workload": dict(member.workload), "warm_up_seconds": WARM_UP_SECONDS}


def _ready(member: Member, job: dict[str, Any] | None) -> dict[str, Any]:
    answer = _answer(member, job)
    if "invalid" in answer:
        raise WorkerError(f"{member.name}: {answer['invalid']}")
    return answer["ready"]


def _answer(member: Member, message: Mapping[str, Any] | None) -> dict[str, Any]:
    """Sends the message, if there is one, and returns the next answer."""
    try:
        if message is not None:
            member.worker.send(message)
        answer = member.worker.receive(SILENCE_SECONDS)
    except WorkerError as error:
        raise WorkerError(f"{member.name}: {error}") from error
    if "refused" in answer:
        raise InputError(f"{member.name}: {answer['refused']}")
    if "failed" in answer or "ended" in answer:
        raise WorkerError(f"{member.name}: {answer.get('failed') or member.worker.death_reason(answer['ended'])}")
    return answer

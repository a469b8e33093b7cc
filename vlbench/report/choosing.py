"""The rules by which models are ranked for a budget on one machine; `choice_tables` prints the ranking."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal

from vlbench.errors import InputError
from vlbench.measuring.machine import Machine
from vlbench.report import frontier
from vlbench.report.frames import Results
from vlbench.report.labels import cell_names
from vlbench.report.matched_accuracy import Accuracies, Key
from vlbench.report.requirements import Judged, Meets, ModelBudget, judge, worst
from vlbench.runner.execution import runtime_of
from vlbench.runner.records import Accuracy, Result

MEETING: tuple[Meets, ...] = ("yes", "perhaps")
RankedBy = Literal["accuracy", "latency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """Which measurements are considered; None: all. `machine` is part of a description, `task` the name of a task."""

    device: str | None = None
    backend: str | None = None
    precision: str | None = None
    batch: int | None = None
    machine: str | None = None
    task: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedModel:
    """A measurement and whether it meets the budget. `rank` counts those that do, surely or perhaps.

    Attributes:
        judged: each requirement, and whether it is met.
        accuracy: of its model, on the task of the ranking.
        frontier: whether no other measurement beats it on accuracy and latency; see `frontier.standings`.
    """

    folder: str
    cell: str
    result: Result
    judged: tuple[Judged, ...]
    accuracy: Accuracy | None
    frontier: str | None = None
    rank: int | None = None

    @property
    def meets(self) -> Meets:
        return worst(judged.meets for judged in self.judged)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it does not meet the budget, or might not."""
        return tuple(judged.reason for judged in self.judged if judged.reason and judged.meets == self.meets)

    @property
    def latency_ms(self) -> float:
        """Infinite if it is unknown, as that of a contended measurement is."""
        latency = self.result.latency_ms
        return latency.median if latency and _has_valid_latency(self.result) else math.inf

    @property
    def excess(self) -> float:
        """The largest share of a budget that it takes; infinite if none is known."""
        return max((judged.share for judged in self.judged if judged.share is not None), default=math.inf)


@dataclass(frozen=True)
class Choice:
    """A ranking for a budget. `candidates` are the models that meet it, best first, then the others, nearest first."""

    budget: ModelBudget
    machine: Machine
    here: bool  # whether that is the machine this process runs on
    key: Key | None  # the task, split and metric of the ranking
    ranked_by: RankedBy
    candidates: tuple[RankedModel, ...]
    notes: tuple[str, ...]

    @cached_property
    def meeting(self) -> tuple[RankedModel, ...]:
        return tuple(model for model in self.candidates if model.meets in MEETING)

    @cached_property
    def others(self) -> tuple[RankedModel, ...]:
        return tuple(model for model in self.candidates if model.meets not in MEETING)

    @property
    def best(self) -> RankedModel | None:
        """The first that surely meets the budget."""
        return next((model for model in self.candidates if model.meets == "yes"), None)

    @property
    def named(self) -> RankedModel | None:
        """The one that the conclusion names: the best, or else the first that perhaps meets the budget."""
        return self.best or next(iter(self.meeting), None)

    @property
    def exit_code(self) -> int:
        """0 if a model surely meets the budget, else 1."""
        return 0 if self.best else 1


def choose(results: Results, budget: ModelBudget, requirements: Requirements, here: Machine | None) -> Choice:
    """Ranks the measurements of one machine by a budget: those of `here`, if there are any.

    Raises InputError if none meets the requirements, or if they are of several machines and none of them is `here`.
    """
    accuracies = Accuracies(results.folders)
    entries = _of_settings([(folder, result) for folder, _, result in results.named], requirements)
    of_machine, on_here, notes = _of_one_machine(entries, requirements, here)
    latest = _latest(of_machine)
    if len(latest) < len(of_machine):
        notes.append(f"Earlier measurements left out: {len(of_machine) - len(latest)}")
    key = _key(accuracies, latest, requirements)
    if budget.accuracy is not None and key is None:
        raise InputError(
            f"--accuracy {budget.accuracy:g}: the results hold none of these models; vlbench eval measures it"
        )
    models = [
        RankedModel(folder=folder, cell=cell, result=result, accuracy=accuracy, judged=judge(result, accuracy, budget))
        for (folder, result), cell in zip(latest, cell_names([result for _, result in latest]), strict=True)
        for accuracy in [accuracies.of(key, folder, result) if key else None]
    ]
    ranked_by: RankedBy = "accuracy" if any(model.accuracy for model in models) else "latency"
    return Choice(
        budget=budget,
        machine=latest[-1][1].machine,
        here=on_here,
        key=key,
        ranked_by=ranked_by,
        candidates=tuple(_ranked(_with_frontier(models))),
        notes=(*notes, *_notes(models, accuracies, key)),
    )


Entry = tuple[str, Result]
FILTERS: dict[str, Callable[[Result], Any]] = {
    "device": attrgetter("device"),
    "backend": runtime_of,
    "precision": attrgetter("precision"),
    "batch": attrgetter("batch"),
}


def _of_settings(entries: Sequence[Entry], requirements: Requirements) -> list[Entry]:
    """The measurements with the required settings."""
    if not entries:
        raise InputError("the results hold no measurements to choose from; vlbench run makes some")
    for name, setting in FILTERS.items():
        value = getattr(requirements, name)
        if value is None:
            continue
        available = sorted({setting(result) for _, result in entries})
        entries = [entry for entry in entries if setting(entry[1]) == value]
        if not entries:
            raise InputError(f"--{name} {value}: no such measurements; there are {', '.join(map(str, available))}")
    return list(entries)


def _of_one_machine(
    entries: Sequence[Entry], requirements: Requirements, here: Machine | None
) -> tuple[list[Entry], bool, list[str]]:
    """The measurements of this machine, or else of the only one; whether it is this machine; and notes."""
    machines: list[Machine] = []
    for _, result in entries:
        if all(result.machine.differing_hardware(machine) for machine in machines):
            machines.append(result.machine)
    text = (requirements.machine or "").casefold()
    chosen = [machine for machine in machines if text in machine_words(machine).casefold()]
    descriptions = "; ".join(map(machine_words, machines))
    if not chosen:
        raise InputError(f"--machine {requirements.machine}: no measurements of it; there are {descriptions}")
    this = [machine for machine in chosen if here and not here.differing_hardware(machine)]
    if len(chosen) > 1 and not this:
        raise InputError(
            f"measurements of {len(chosen)} machines, none of them this one: {descriptions}; choose one by --machine "
            "WORDS"
        )
    machine = (this or chosen)[0]
    kept = [entry for entry in entries if not machine.differing_hardware(entry[1].machine)]
    words = machine_words(machine)
    notes = [f"Measured on this machine: {words}" if this else f"Measured on {words}, not on this machine"]
    if len(kept) < len(entries):
        others = "; ".join(machine_words(other) for other in machines if other is not machine)
        notes.append(f"Measurements of other machines left out: {len(entries) - len(kept)} ({others})")
    return kept, bool(this), notes


def machine_words(machine: Machine) -> str:
    """`AMD EPYC, 2 cores, 24 GiB`"""
    return f"{machine.in_few_words()}, {machine.ram_bytes / 2**30:.0f} GiB"


def _latest(entries: Sequence[Entry]) -> list[Entry]:
    """The latest measurement of each model and setting, one with a valid latency if there is any."""
    latest: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: (_has_valid_latency(entry[1]), entry[1].measured_at)):
        latest[entry[1].cell_hash] = entry
    kept = set(map(id, latest.values()))
    return [entry for entry in entries if id(entry) in kept]


def _has_valid_latency(result: Result) -> bool:
    return result.status == "ok" and not result.contended


def _key(accuracies: Accuracies, entries: Sequence[Entry], requirements: Requirements) -> Key | None:
    """The task, split and metric that most models have."""
    named = [(folder, result.cell_hash, result) for folder, result in entries]
    keys = accuracies.keys_of(named)
    if requirements.task is not None:
        available = dict.fromkeys(task for task, _, _ in keys)
        keys = [key for key in keys if key[0] == requirements.task]
        if not keys:
            raise InputError(
                f"--task {requirements.task}: no accuracy of these models; there is {', '.join(available) or 'none'}"
            )
    counts = {key: sum(bool(accuracies.of(key, folder, result)) for folder, _, result in named) for key in keys}
    return max(keys, key=lambda key: counts[key], default=None)


def _with_frontier(models: Sequence[RankedModel]) -> list[RankedModel]:
    """Marks whether each measurement with an accuracy and a valid latency is on the frontier."""
    points: dict[int, frontier.FrontierPoint] = {}
    for index, model in enumerate(models):
        if model.accuracy and model.result.latency_ms and _has_valid_latency(model.result):
            latency = model.result.latency_ms
            points[index] = frontier.FrontierPoint(
                cost=latency.median,
                accuracy=model.accuracy.value,
                evaluated=id(model.accuracy),
                cost_interval=latency.ci95,
                accuracy_interval=model.accuracy.ci95,
            )
    standing = dict(zip(points, frontier.standings(list(points.values())), strict=True))
    return [replace(model, frontier=standing.get(index)) for index, model in enumerate(models)]


def _ranked(models: Iterable[RankedModel]) -> list[RankedModel]:
    ordered = sorted(models, key=_order)
    return [
        replace(model, rank=index if model.meets in MEETING else None) for index, model in enumerate(ordered, start=1)
    ]


def _order(model: RankedModel) -> tuple[int, float, float, float, str]:
    """Models that meet the budget, then those that might, by accuracy, then latency; then the others, nearest first."""
    index = ("yes", "perhaps", "no", "unknown").index(model.meets)
    memory = model.result.peak_memory_bytes or math.inf
    if model.meets not in MEETING:
        return index, model.excess, model.latency_ms, memory, model.cell
    return index, -(model.accuracy.value if model.accuracy else -1.0), model.latency_ms, memory, model.cell


def _notes(models: Sequence[RankedModel], accuracies: Accuracies, key: Key | None) -> list[str]:
    lines = []
    if key is None:
        random = ", as the weights are random" if {model.result.weights for model in models} == {"random"} else ""
        lines.append(f"Accuracy is not known{random}: ranked by latency alone; vlbench eval --task TASK measures it")
    else:
        lines.append(f"Ranked by {' '.join(key)}, then by latency; frontier: no other model beats it on both")
        named = [(model.folder, "", model.result) for model in models]
        others = [other for other in accuracies.keys_of(named) if other != key]
        if others:
            lines.append(f"There is accuracy on {', '.join(map(' '.join, others))}, too: --task TASK")
        without = [model.cell for model in models if not model.accuracy and model.meets in MEETING]
        if without:
            lines.append(f"Of unknown accuracy, so ranked last: {', '.join(without)}")
    batches = sorted({model.result.batch for model in models})
    if batches != [1]:
        lines.append(f"Latency is of a pass of the whole batch, of {', '.join(map(str, batches))}")
    return lines

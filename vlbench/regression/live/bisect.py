"""Finds the commit since which something is slower: which commit to measure next, the live comparison of each with the
good one in a checkout of its own, and the record of every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from vlbench.errors import InputError, WorkerError
from vlbench.frozen import Frozen
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.verdicts import change
from vlbench.regression.live.record import LiveComparison
from vlbench.regression.live.revisions import Commit, GitError, checked_out
from vlbench.regression.live.run import LiveRequest, Report, run, started
from vlbench.regression.live.sides import Side
from vlbench.runner.worker_client import Worker

AGAIN = 2  # times the budget, for a cell that could not be told


def search(good: Commit, way: Sequence[Commit], cells: Sequence[str], measure: Measure) -> Bisection:
    """The first commit of `way` at which each cell is slower than at `good`. The last of `way` is the bad one.

    It is measured first, and then only the cells that are slower there. A commit is measured for all cells that it can
    tell something about. One that fails is left out, as is one that cannot be told with twice the budget either.
    Raises InputError where a cell cannot be measured at the bad commit.
    """
    steps = [_step_of_bad(step) for step in _told(way[-1], cells, measure)]
    open_cells = [_Cell(step, len(way)) for step in steps]
    while wanted := [cell for cell in open_cells if cell.candidates()]:
        place = _nearest_to_the_middle(max(wanted, key=lambda cell: cell.high - cell.low))
        concerned = {cell.name: cell for cell in wanted if place in cell.candidates()}
        for step in _told(way[place], list(concerned), measure):
            concerned[step.cell].learn(place, step)
            steps.append(step)
    return Bisection(
        schema=BISECTION_SCHEMA,
        good=good,
        bad=way[-1],
        between=len(way),
        found=tuple(cell.found(way) for cell in open_cells),
        steps=tuple(steps),
    )


def _told(commit: Commit, cells: Sequence[str], measure: Measure) -> list[Step]:
    steps = {step.cell: step for step in measure(commit, cells, 1)}
    unknown = [name for name in cells if steps[name].verdict == "unknown"]
    if unknown:
        steps |= {step.cell: step for step in measure(commit, unknown, AGAIN)}
    return list(steps.values())


def _step_of_bad(step: Step) -> Step:
    if step.verdict == "failed":
        raise InputError(f"{step.cell}: good and bad cannot be compared: {step.reason}")
    return step


class _Cell:
    """What is known of one cell: not slower at `low`, slower at `high`, both places on the way."""

    def __init__(self, step: Step, length: int) -> None:
        self.name, self.step = step.cell, step
        self.low, self.high = (-1, length - 1) if step.verdict == "slower" else (length - 1, length)
        self.skipped: set[int] = set()

    def candidates(self) -> list[int]:
        return [place for place in range(self.low + 1, self.high) if place not in self.skipped]

    def learn(self, place: int, step: Step) -> None:
        if step.skipped:
            self.skipped.add(place)
        elif step.verdict == "slower":
            self.high, self.step = place, step
        else:
            self.low = place

    def found(self, way: Sequence[Commit]) -> Found:
        commits = tuple(way[self.low + 1 : self.high + 1]) if self.step.verdict == "slower" else ()
        status: Status = "not slower" if not commits else "culprit" if len(commits) == 1 else "range"
        if self.step.verdict == "unknown":
            status = "unknown"
        return Found(cell=self.name, status=status, commits=commits, step=self.step)


def _nearest_to_the_middle(cell: _Cell) -> int:
    return min(cell.candidates(), key=lambda place: abs(2 * place - cell.low - cell.high))


BISECTION_SCHEMA = 1
Verdict = Literal["slower", "faster", "same", "unknown", "failed"]
Status = Literal["culprit", "range", "not slower", "unknown"]


class Step(Frozen):
    """One cell at one commit, against the good one. `effect` is None where it failed; `reason` says why no verdict is
    possible."""

    commit: Commit
    cell: str
    verdict: Verdict
    effect: Effect | None = None
    moved: str | None = None
    reason: str | None = None

    @property
    def skipped(self) -> bool:
        return self.verdict in ("unknown", "failed")


Measure = Callable[[Commit, Sequence[str], float], Sequence[Step]]  # the cells of a commit, with so many budgets each


class Found(Frozen):
    """Where a cell became slower.

    Attributes:
        status: `culprit`: with the one commit of `commits`; `range`: with one of them, for all but the last could not
            be measured; `not slower`: nowhere; `unknown`: whether the bad commit is slower cannot be told.
        step: the measurement of the last of `commits`, or of the bad commit where there are none.
    """

    cell: str
    status: Status
    commits: tuple[Commit, ...]
    step: Step


class Bisection(Frozen):
    """The whole. `between` counts the steps from good to bad; `steps` are those measured, in that order.

    The exit code is 1 where a culprit was found, else 3 where something cannot be told, else 0.
    """

    schema_version: int = Field(default=BISECTION_SCHEMA, alias="schema")
    good: Commit
    bad: Commit
    between: int
    found: tuple[Found, ...]
    steps: tuple[Step, ...]

    @property
    def exit_code(self) -> int:
        statuses = {found.status for found in self.found}
        if "culprit" in statuses:
            return 1
        return 3 if statuses & {"range", "unknown"} else 0


def bisect(
    request: LiveRequest, good: Commit, way: Sequence[Commit], tell: Callable[[str], None], report: Report
) -> Bisection:
    """Searches the way from `good`. `tell` hears a line a step, `report` each replicate.

    Raises InputError where good and the last of the way cannot be compared.
    """
    with _side("good", good) as base:
        measure = _LiveMeasure(request=request, good=base, tell=tell, report=report)
        return search(good, way, [*request.models, *request.callables], measure)


@contextmanager
def _side(name: str, commit: Commit) -> Iterator[Side]:
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(checked_out(commit.hash))
        except GitError as error:
            raise InputError(f"{name} {commit.short}: git could not check it out: {error}") from error
        yield Side(name=name, label=commit.short, source=folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LiveMeasure:
    request: LiveRequest
    good: Side
    tell: Callable[[str], None]
    report: Report

    def __call__(self, commit: Commit, cells: Sequence[str], budgets: float) -> list[Step]:
        again = " again" if budgets > 1 else ""
        self.tell(f"measuring {commit.short}{again} ({commit.subject}): {', '.join(cells)}")
        try:
            with _side("head", commit) as head, started(self.request, self.good, head) as workers:
                return [self._step(commit, cell, budgets, head, workers) for cell in cells]
        except InputError as error:
            return [self._told(Step(commit=commit, cell=cell, verdict="failed", reason=str(error))) for cell in cells]

    def _step(self, commit: Commit, cell: str, budgets: float, head: Side, workers: Mapping[str, Worker]) -> Step:
        one = replace(
            self.request,
            models=[cell] if cell in self.request.models else [],
            callables=[cell] if cell in self.request.callables else [],
            budget_seconds=budgets * self.request.budget_seconds,
        )
        try:
            step = step_of(commit, cell, run(one, self.good, head, workers, self.report))
        except (InputError, WorkerError) as error:
            for worker in workers.values():
                worker.end()  # the others still wait for their next block
            step = Step(commit=commit, cell=cell, verdict="failed", reason=str(error))
        return self._told(step)

    def _told(self, step: Step) -> Step:
        said = f" {change(step.effect.ratio)}" if step.effect else ""
        why = f": {step.reason}" if step.skipped else ""
        self.tell(f"{step.commit.short} {step.cell}: {step.verdict}{said}{why}")
        return step


def step_of(commit: Commit, cell: str, live: LiveComparison) -> Step:
    """What a live comparison of one cell says; nothing, where that is advice alone."""
    (outcome,), (subject,) = live.comparison.cells, live.subjects
    verdict, reason = outcome.verdict, outcome.reason
    if subject.advisory:
        verdict, reason = "unknown", subject.disturbed or f"the control is biased, {change(subject.control.ratio)}"
    moved = outcome.moved.text if outcome.moved else None
    return Step(commit=commit, cell=cell, verdict=verdict, effect=outcome.effect, moved=moved, reason=reason)

"""Measures commits by live comparison with the good one, each in a checkout of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from vlbench.ab.record import LiveComparison
from vlbench.ab.revisions import Commit, GitError, checked_out
from vlbench.ab.run import Report, Request, run, started
from vlbench.ab.sides import Side
from vlbench.bisect.record import Bisection, Step
from vlbench.bisect.search import search
from vlbench.compare.verdicts import change
from vlbench.errors import InputError, WorkerError
from vlbench.running.workers import Worker


def bisect(
    request: Request, good: Commit, way: Sequence[Commit], tell: Callable[[str], None], report: Report
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
    request: Request
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

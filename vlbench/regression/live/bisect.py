"""Finds the commit since which a model or function is slower: which commit to measure next, its live comparison with
the good commit in a checkout of its own, and the record of every step."""

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
from vlbench.regression.live.checkouts import checked_out
from vlbench.regression.live.progress import Report
from vlbench.regression.live.record import LiveComparison
from vlbench.regression.live.revisions import Commit, GitError
from vlbench.regression.live.run import LiveRequest, compare_live, start_workers
from vlbench.regression.live.sides import Side
from vlbench.runner.worker_client import Worker

BISECTION_SCHEMA = 1
RETRY_BUDGETS = 2  # for a workload whose verdict was unknown
Verdict = Literal["slower", "faster", "same", "unknown", "failed"]
Status = Literal["culprit", "range", "not slower", "unknown"]


class Step(Frozen):
    """One workload at one commit, against the good commit.

    Attributes:
        effect: None if it failed.
        moved: where the change happened, in words.
        reason: why there is no verdict.
    """

    commit: Commit
    workload: str
    verdict: Verdict
    effect: Effect | None = None
    moved: str | None = None
    reason: str | None = None

    @property
    def skipped(self) -> bool:
        return self.verdict in ("unknown", "failed")


class SearchResult(Frozen):
    """Since when a workload is slower.

    Attributes:
        status: `culprit`: since the one commit of `commits`; `range`: since one of them, because all but the last could
            not be measured; `not slower`: it is not; `unknown`: there is no verdict on the bad commit.
        step: the measurement of the last of `commits`, or of the bad commit if there are none.
    """

    workload: str
    status: Status
    commits: tuple[Commit, ...]
    step: Step


class Bisection(Frozen):
    """A finished search.

    Attributes:
        commit_count: from the good commit, exclusive, to the bad one, inclusive.
        steps: in the order measured.
    """

    schema_version: int = Field(default=BISECTION_SCHEMA, alias="schema")
    good: Commit
    bad: Commit
    commit_count: int
    results: tuple[SearchResult, ...]
    steps: tuple[Step, ...]

    @property
    def exit_code(self) -> int:
        """1 if there is a culprit, otherwise 3 if something is unknown, otherwise 0."""
        statuses = {result.status for result in self.results}
        if "culprit" in statuses:
            return 1
        return 3 if statuses & {"range", "unknown"} else 0


Measure = Callable[[Commit, Sequence[str], float], Sequence[Step]]  # workloads at a commit, with so many budgets each


def search(good: Commit, commits: Sequence[Commit], workloads: Sequence[str], measure: Measure) -> Bisection:
    """The first of `commits` at which each workload is slower than at `good`. The last of `commits` is the bad one.

    The bad commit is measured first, and after that only the workloads that are slower there. Each commit is measured
    for all workloads that still need it. It is skipped for a workload that fails there, or whose verdict is unknown
    even with twice the budget. Raises InputError if a workload cannot be measured at the bad commit.
    """
    steps = [_checked(step) for step in _measured(commits[-1], workloads, measure)]
    searches = [_Search(step, len(commits)) for step in steps]
    while unfinished := [search for search in searches if search.candidates()]:
        index = max(unfinished, key=lambda search: search.high - search.low).middle()
        concerned = {search.workload: search for search in unfinished if index in search.candidates()}
        for step in _measured(commits[index], list(concerned), measure):
            concerned[step.workload].learn(index, step)
            steps.append(step)
    return Bisection(
        schema=BISECTION_SCHEMA,
        good=good,
        bad=commits[-1],
        commit_count=len(commits),
        results=tuple(search.result(commits) for search in searches),
        steps=tuple(steps),
    )


def _measured(commit: Commit, workloads: Sequence[str], measure: Measure) -> list[Step]:
    """A step for each workload; those with an unknown verdict are measured a second time."""
    steps = {step.workload: step for step in measure(commit, workloads, 1)}
    unknown = [name for name in workloads if steps[name].verdict == "unknown"]
    if unknown:
        steps |= {step.workload: step for step in measure(commit, unknown, RETRY_BUDGETS)}
    return list(steps.values())


def _checked(step: Step) -> Step:
    if step.verdict == "failed":
        raise InputError(f"{step.workload}: good and bad cannot be compared: {step.reason}")
    return step


class _Search:
    """The search for one workload: it is not slower at index `low` of the commits, and slower at index `high`."""

    def __init__(self, step: Step, length: int) -> None:
        self.workload, self.step = step.workload, step
        self.low, self.high = (-1, length - 1) if step.verdict == "slower" else (length - 1, length)
        self.skipped: set[int] = set()

    def candidates(self) -> list[int]:
        return [index for index in range(self.low + 1, self.high) if index not in self.skipped]

    def middle(self) -> int:
        return min(self.candidates(), key=lambda index: abs(2 * index - self.low - self.high))

    def learn(self, index: int, step: Step) -> None:
        if step.skipped:
            self.skipped.add(index)
        elif step.verdict == "slower":
            self.high, self.step = index, step
        else:
            self.low = index

    def result(self, commits: Sequence[Commit]) -> SearchResult:
        suspects = tuple(commits[self.low + 1 : self.high + 1]) if self.step.verdict == "slower" else ()
        status: Status = "not slower" if not suspects else "culprit" if len(suspects) == 1 else "range"
        if self.step.verdict == "unknown":
            status = "unknown"
        return SearchResult(workload=self.workload, status=status, commits=suspects, step=self.step)


def bisect(
    request: LiveRequest, good: Commit, commits: Sequence[Commit], log: Callable[[str], None], report: Report
) -> Bisection:
    """Searches the commits after `good`. `log` gets a line for each step, `report` each replicate.

    Raises InputError if the good commit and the last one cannot be compared.
    """
    with _checkout("good", good) as base:
        measure = _LiveMeasure(request=request, good=base, log=log, report=report)
        return search(good, commits, [*request.models, *request.callables], measure)


@contextmanager
def _checkout(name: str, commit: Commit) -> Iterator[Side]:
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
    log: Callable[[str], None]
    report: Report

    def __call__(self, commit: Commit, workloads: Sequence[str], budgets: float) -> list[Step]:
        again = " again" if budgets > 1 else ""
        self.log(f"measuring {commit.short}{again} ({commit.subject}): {', '.join(workloads)}")
        try:
            with _checkout("head", commit) as head, start_workers(self.request, self.good, head) as workers:
                return [self._step(commit, name, budgets, head, workers) for name in workloads]
        except InputError as error:
            failed = [Step(commit=commit, workload=name, verdict="failed", reason=str(error)) for name in workloads]
            return [self._logged(step) for step in failed]

    def _step(self, commit: Commit, name: str, budgets: float, head: Side, workers: Mapping[str, Worker]) -> Step:
        request = replace(
            self.request,
            models=[name] if name in self.request.models else [],
            callables=[name] if name in self.request.callables else [],
            budget_seconds=budgets * self.request.budget_seconds,
        )
        try:
            step = step_of(commit, name, compare_live(request, self.good, head, workers, self.report))
        except (InputError, WorkerError) as error:
            for worker in workers.values():
                worker.end()  # the others still wait for their next block
            step = Step(commit=commit, workload=name, verdict="failed", reason=str(error))
        return self._logged(step)

    def _logged(self, step: Step) -> Step:
        effect = f" {change(step.effect.ratio)}" if step.effect else ""
        reason = f": {step.reason}" if step.skipped else ""
        self.log(f"{step.commit.short} {step.workload}: {step.verdict}{effect}{reason}")
        return step


def step_of(commit: Commit, name: str, live: LiveComparison) -> Step:
    """The step that a live comparison of one workload amounts to. A verdict that is only advice counts as unknown."""
    (cell,), (workload,) = live.comparison.cells, live.workloads
    verdict, reason = cell.verdict, cell.reason
    if workload.advisory:
        verdict, reason = "unknown", workload.disturbed or f"the control is biased, {change(workload.control.ratio)}"
    moved = cell.moved.text if cell.moved else None
    return Step(commit=commit, workload=name, verdict=verdict, effect=cell.effect, moved=moved, reason=reason)

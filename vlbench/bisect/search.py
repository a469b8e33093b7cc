"""Which commit to measure next, and what the verdicts so far mean; knows nothing of how a commit is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlbench.ab.revisions import Commit
from vlbench.bisect.record import SCHEMA, Bisection, Found, Status, Step
from vlbench.errors import InputError

AGAIN = 2  # times the budget, for a cell that could not be told
Measure = Callable[[Commit, Sequence[str], float], Sequence[Step]]  # the cells of a commit, with so many budgets each


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
        schema=SCHEMA,
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

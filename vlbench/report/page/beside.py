"""Results side by side: the first set of cells against each other one, by folder, machine, device and precision."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from vlbench.errors import InputError
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.outcomes import CellOutcome, Comparison
from vlbench.report.frames import Results
from vlbench.runner.records import Result
from vlbench.tables.numbers import short_number

NONE = "-"
MOST = 6  # sets that are held against the first; more are a matter for vlbench history
SETTINGS: dict[str, Callable[[Result], str]] = {
    "machine": lambda one: one.machine.in_few_words(),
    "software": lambda one: f"torch {one.machine.torch}, Python {one.machine.python}",
    "device": lambda one: one.device,
    "precision": lambda one: one.precision,
    "threads": lambda one: f"{one.machine.threads} thread{'s' if one.machine.threads > 1 else ''}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    folder: str
    settings: tuple[str, ...]
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A set against the first: `differences` are what a reader must know before the ratios are read."""

    base: str
    head: str
    differences: tuple[str, ...]
    cells: tuple[CellOutcome, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return f"{self.base}, ms", f"{self.head}, ms", "times", "interval", "verdict"

    @property
    def rows(self) -> list[tuple[str, tuple[str, ...], str]]:
        """Of each cell its name, the words of each column, and why."""
        return [
            (cell.cell, tuple(_words(cell)), cell.moved.text if cell.moved else cell.reason or "")
            for cell in self.cells
        ]


def _words(cell: CellOutcome) -> Iterator[str]:
    effect = cell.effect
    for latency in (cell.base_ms, cell.head_ms):
        yield NONE if latency is None else short_number(latency)
    yield f"{effect.ratio:.3g}" if effect else NONE
    known = effect is not None and effect.low is not None and effect.high is not None
    yield f"{effect.low:.3g} to {effect.high:.3g}" if effect and known else NONE
    yield cell.verdict


def side_by_side(results: Results) -> list[Beside]:
    """Empty where there is one set, or none that shares a model with the first."""
    sets = _sets(results)
    names = _names(sets)
    found = []
    for name, other in list(zip(names, sets, strict=True))[1 : MOST + 1]:
        try:
            outcome = compare(*_alike(sets[0], other), names=(names[0], name), force=True)
        except InputError:
            continue  # no cell in common
        found.append(_beside(outcome))
    return found


def _alike(one: _Set, other: _Set) -> tuple[list[Result], list[Result]]:
    """The cells of both whose inputs both have, whatever else they are measured with."""
    own, others = ({_input(result) for result in each.results} for each in (one, other))
    first, second = ([result for result in each.results if _input(result) in own & others] for each in (one, other))
    return first, second


def _input(one: Result) -> Hashable:
    return one.model, one.image_size, one.text_tokens, one.image_tokens, one.batch


def _beside(outcome: Comparison) -> Beside:
    lines = (*outcome.differences, *outcome.notes)
    return Beside(
        base=outcome.base,
        head=outcome.head,
        differences=tuple(line.replace("BASE", outcome.base).replace("HEAD", outcome.head) for line in lines),
        cells=outcome.cells,
    )


def _sets(results: Results) -> list[_Set]:
    groups: dict[tuple[str, tuple[str, ...]], list[Result]] = {}
    for folder, _, one in results.named:
        settings = tuple(setting(one) for setting in SETTINGS.values())
        groups.setdefault((folder, settings), []).append(one)
    return [_Set(folder=folder, settings=own, results=tuple(found)) for (folder, own), found in groups.items()]


def _names(sets: Sequence[_Set]) -> list[str]:
    """The folder, where that tells a set from the others; else what differs among the sets, too."""
    folders = [one.folder for one in sets]
    if len(set(folders)) == len(sets):
        return folders
    varying = [place for place in range(len(SETTINGS)) if len({one.settings[place] for one in sets}) > 1]
    several = len(set(folders)) > 1
    return [
        ", ".join([*([one.folder] if several else []), *(one.settings[place] for place in varying)]) for one in sets
    ]

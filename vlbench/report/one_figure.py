"""One figure of results folders, by its name, as one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import InputError, nearest
from vlbench.report import figures, frontier_figure, reported_figure, roofline_figure, scaling_figure, stages_figure
from vlbench.report.folders import Folder
from vlbench.report.frames import Results
from vlbench.report.frontier import comparable
from vlbench.report.paper import drawing, write
from vlbench.suites.outcomes import SuiteOutcome
from vlbench.suites.reader import LoadedSuite, ablation_paths, resolve_suites, suite_paths

FRONTIER = "frontier"
PICTURES: dict[str, Callable[[Results, Any], Any]] = {
    "stages": stages_figure.picture,
    "scaling": scaling_figure.picture,
    "roofline": roofline_figure.picture,
    "reported": reported_figure.picture,
}
NAMES = ("stages", FRONTIER, "scaling", "roofline", "reported")


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRequest:
    """A figure: one of `NAMES`, of `task` where it is a frontier, or a suite's."""

    name: str
    task: str | None = None
    suite: LoadedSuite | None = None


def wanted_figure(word: str) -> FigureRequest:
    """`stages`, `frontier`, `frontier:TASK`, ..., a suite's name, or the path of its file.

    Raises InputError for another, or where a suite's file does not hold together.
    """
    name, colon, task = word.partition(":")
    if name == FRONTIER:
        return FigureRequest(name=name, task=task if colon else None)
    if word in NAMES:
        return FigureRequest(name=word)
    if word in suite_paths() or word.endswith((".yaml", ".yml")):
        (suite,) = resolve_suites([word])
        return FigureRequest(name=suite.suite.name, suite=suite)
    if word in ablation_paths():
        raise InputError(f"figure: {word} is trained; vlbench reproduce {word} --figures DIR draws it")
    raise InputError(f"figure: no figure {word!r}; {nearest(word, [*NAMES, *suite_paths()])}")


def draw(wanted: FigureRequest, results: Results, path: Path) -> list[str]:
    """Writes one file of the kind that its name ends in; gives what should be told beside it.

    Raises InputError where there is nothing to draw, with the reason, and OSError where the file cannot be written.
    """
    told: list[str] = []
    with drawing() as plt:
        if wanted.suite:
            picture = _suite(wanted.suite, results, plt)
        elif wanted.name == FRONTIER:
            picture, told = _frontier(wanted.task, results, plt)
        else:
            picture = PICTURES[wanted.name](results, plt)
        try:
            write(picture, path)
        finally:
            plt.close(picture)
    return told


def _frontier(task: str | None, results: Results, plt: Any) -> tuple[Any, list[str]]:
    """Of the task and split of most models, or that of the task that is asked for."""
    cells = [one for folder in results.folders for one in folder.results]
    evaluations = [one for folder in results.folders for one in folder.evaluations]
    found = frontier_figure.parts(cells, evaluations)
    if not found:
        raise InputError("frontier: no model of these results has both accuracy and latency")
    fitting = [key for key in found if task in (None, key[0], "-".join(key))]
    if not fitting:
        raise InputError(f"frontier: no model has an accuracy of {task!r}; {nearest(task or '', _said(found))}")
    drawn = max(fitting, key=lambda key: len(found[key]))
    others = [key for key in found if key != drawn]
    told = [f"frontier of {' '.join(drawn)}; others: {', '.join(f'{FRONTIER}:{one}' for one in _said(others))}"]
    return frontier_figure.picture(found[drawn], comparable(cells, evaluations)[0], plt), told if others else []


def _said(keys: Any) -> list[str]:
    return ["-".join(key) for key in keys]


def _suite(wanted: LoadedSuite, results: Results, plt: Any) -> Any:
    name = wanted.suite.name
    holding = [folder for folder in results.folders if folder.reproduced and name in folder.reproduced.titles]
    if not holding:
        held = list(dict.fromkeys(one for folder in results.folders for one in _titles(folder)))
        said = f"they hold {', '.join(held)}" if held else "they hold no suite"
        raise InputError(
            f"{name}: these results hold no reproduction of it; {said}; vlbench reproduce {name} makes one"
        )
    if len(holding) > 1:
        paths = " and ".join(str(folder.path) for folder in holding)
        raise InputError(f"{name}: is in {paths}; name one of them")
    outcome = _outcome(wanted, holding[0])
    picture = figures.picture(outcome, _machine(holding[0]), plt)
    if picture is None:
        raise InputError(f"{name}: {holding[0].path} has none of the figures that its picture shows")
    return picture


def _titles(folder: Folder) -> Sequence[str]:
    return list(folder.reproduced.titles) if folder.reproduced else []


def _machine(folder: Folder) -> Any:
    return folder.reproduced.machine if folder.reproduced else None


def _outcome(wanted: LoadedSuite, folder: Folder) -> SuiteOutcome:
    assert folder.reproduced
    name, reproduced = wanted.suite.name, folder.reproduced
    return SuiteOutcome(
        suite=wanted.suite,
        cells=tuple(one for one in reproduced.cells if one.suite == name),
        claims=tuple(one for one in reproduced.claims if one.suite == name),
        quick=reproduced.quick,
    )

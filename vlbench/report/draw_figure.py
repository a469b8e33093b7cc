"""Draws a figure of results folders, chosen by its name, into a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import InputError, nearest
from vlbench.report import suite_figures
from vlbench.report.figure_registry import FIGURES, load
from vlbench.report.folders import Folder
from vlbench.report.frames import Results
from vlbench.report.paper import drawing, write
from vlbench.suites.outcomes import SuiteOutcome
from vlbench.suites.reader import LoadedSuite, ablation_paths, resolve_suites, suite_paths


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRequest:
    """One of FIGURES, with a task if it is drawn by task; or a suite's figure."""

    name: str
    task: str | None = None
    suite: LoadedSuite | None = None


def parse_figure(text: str) -> FigureRequest:
    """`stages`, `frontier`, `frontier:TASK`, ..., a suite's name, or the path of its file.

    Raises InputError for any other text, or if a suite's file is not valid.
    """
    name, _, task = text.partition(":")
    if name in FIGURES and (name == text or FIGURES[name].by_task):
        return FigureRequest(name=name, task=task if name != text else None)
    if text in suite_paths() or text.endswith((".yaml", ".yml")):
        (suite,) = resolve_suites([text])
        return FigureRequest(name=suite.suite.name, suite=suite)
    if text in ablation_paths():
        raise InputError(f"figure: {text} is trained; vlbench reproduce {text} --figures DIR draws it")
    raise InputError(f"figure: no figure {text!r}; {nearest(text, [*FIGURES, *suite_paths()])}")


def draw(request: FigureRequest, results: Results, path: Path) -> list[str]:
    """Writes a figure in the format of the file's ending; returns remarks for the user.

    Raises InputError, with the reason, if there is nothing to draw, and OSError if the file cannot be written.
    """
    remarks: list[str] = []
    with drawing() as plt:
        if request.suite:
            picture = _suite_picture(request.suite, results, plt)
        elif FIGURES[request.name].by_task:
            picture, remarks = load(FIGURES[request.name].paper)(results, plt, request.task)
        else:
            picture = load(FIGURES[request.name].paper)(results, plt)
        try:
            write(picture, path)
        finally:
            plt.close(picture)
    return remarks


def _suite_picture(loaded: LoadedSuite, results: Results, plt: Any) -> Any:
    name = loaded.suite.name
    reproduced = [(folder, folder.reproduced) for folder in results.folders if folder.reproduced]
    folders = [folder for folder, content in reproduced if name in content.titles]
    if not folders:
        names = list(dict.fromkeys(title for _, content in reproduced for title in content.titles))
        others = f"they hold {', '.join(names)}" if names else "they hold no suite"
        raise InputError(
            f"{name}: these results hold no reproduction of it; {others}; vlbench reproduce {name} makes one"
        )
    if len(folders) > 1:
        paths = " and ".join(str(folder.path) for folder in folders)
        raise InputError(f"{name}: is in {paths}; name one of them")
    return _folder_picture(loaded, folders[0], plt)


def _folder_picture(loaded: LoadedSuite, folder: Folder, plt: Any) -> Any:
    name, reproduced = loaded.suite.name, folder.reproduced
    assert reproduced
    outcome = SuiteOutcome(
        suite=loaded.suite,
        cells=tuple(cell for cell in reproduced.cells if cell.suite == name),
        claims=tuple(claim for claim in reproduced.claims if claim.suite == name),
        quick=reproduced.quick,
    )
    picture = suite_figures.picture(outcome, reproduced.machine, plt)
    if picture is None:
        raise InputError(f"{name}: {folder.path} has none of the values that its figure shows")
    return picture

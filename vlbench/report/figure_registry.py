"""The figures of results by name, each with the function that draws it on paper and the one that makes its section of
the page. Modules are imported when a figure is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlbench.report.frames import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureKind:
    """A figure of results.

    Attributes:
        summary: its line in `vlbench figure --help`.
        paper: `module:function` within `vlbench.report`. It takes results and pyplot and gives matplotlib's figure, and
            raises InputError if there is nothing to draw. If `by_task`, it takes a task or None, too, and also gives a
            list of remarks.
        section: `module:function` that takes results and gives a `Section` of the page, or None.
    """

    summary: str
    paper: str
    section: str | None = None
    by_task: bool = False


FIGURES = {
    "stages": FigureKind(
        summary="the latency of a forward pass and the share of each stage, as in ViLT's Figure 1",
        paper="stages_figure:picture",
        section="page.stages_section:section",
    ),
    "runtimes": FigureKind(
        summary="what a runtime buys, by stage: a bar for each backend and precision, and its ratio to eager fp32",
        paper="runtimes_figure:picture",
        section="page.runtimes_section:section",
    ),
    "frontier": FigureKind(
        summary="accuracy over latency and over MACs; frontier:TASK if several tasks were evaluated",
        paper="frontier_figure:picture_of_task",
        section="page.accuracy_section:section",
        by_task=True,
    ),
    "scaling": FigureKind(
        summary="latency over batch size, pixels and tokens, where three or more were measured",
        paper="scaling_figure:picture",
        section="page.scaling_section:section",
    ),
    "roofline": FigureKind(
        summary="GFLOP/s over FLOPs per byte moved, below the measured peaks of the machine",
        paper="roofline_figure:picture",
        section="page.roofline_section:section",
    ),
    "reported": FigureKind(
        summary="measured figures over those that papers report, with numbered errata", paper="reported_figure:picture"
    ),
}


def load(target: str) -> Any:
    """The function of `module:function` within `vlbench.report`."""
    module, _, name = target.partition(":")
    return getattr(import_module(f"vlbench.report.{module}"), name)


def figure_sections(results: Results) -> list[Any]:
    """The sections of the page that have something to show, in order."""
    sections = [load(kind.section)(results) for kind in FIGURES.values() if kind.section]
    return [section for section in sections if section]

"""Figures of ablations: one point per arm and seed, their mean and deviation, and the gain that the paper reports."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlbench.report.colours import COLOURS, MARKERS
from vlbench.report.paper import DPI, drawing, save
from vlbench.report.suite_figures import PAPER
from vlbench.training.ablation.arm_outcomes import AblationOutcome, ArmOutcome

OFFSET = 0.16  # of the mean to the left of the points, and of the paper's mark to the right
ARM_INCHES = 1.2


def draw(outcomes: Sequence[AblationOutcome], folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.svg of each suite with at least one finished training; returns the files.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with drawing() as plt:
        for outcome in outcomes:
            if any(arm.accuracy for arm in outcome.arms):
                written += save(_figure(outcome, plt), folder, outcome.suite.name, plt)
    return written


def _figure(outcome: AblationOutcome, plt: Any) -> Any:
    models, arms = outcome.suite.models, len(outcome.suite.arms)
    width = max(4.0, (1 + ARM_INCHES * arms) * len(models))
    figure, panels = plt.subplots(1, len(models), figsize=(width, 3.6), dpi=DPI, layout="constrained", squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        _panel(axes, [arm for arm in outcome.arms if arm.model == model])
        axes.set_title(model)
    panels[0][0].set_ylabel("accuracy, %")
    figure.suptitle(outcome.suite.title, x=0.01, ha="left", fontsize=11)
    _legend(figure, outcome, plt)
    return figure


def _panel(axes: Any, arms: Sequence[ArmOutcome]) -> None:
    reference = next((arm for arm in arms if arm.verdict == "reference"), None)
    for index, arm in enumerate(arms):
        for number, (seed, value) in enumerate(arm.accuracy.items()):
            colour, marker = COLOURS[seed % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axes.plot(index, value, marker, color=colour, markersize=5, zorder=3)
        if arm.mean is not None:
            axes.errorbar(
                index - OFFSET, arm.mean, yerr=arm.deviation, fmt="_", color="black", markersize=11, capsize=3, zorder=2
            )
        if arm.reported and reference is not None and reference.mean is not None:
            expected = reference.mean + arm.reported[0].delta
            axes.plot(index + OFFSET, expected, "D", color=PAPER, markerfacecolor="white", markersize=5, zorder=1)
    if reference is not None and reference.mean is not None:
        axes.axhline(reference.mean, color=PAPER, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xticks(range(len(arms)), ["\n".join(textwrap.wrap(arm.arm, 14)) for arm in arms])
    axes.set_xlim(-0.5, len(arms) - 0.5)
    axes.grid(axis="y", alpha=0.25)


def _legend(figure: Any, outcome: AblationOutcome, plt: Any) -> None:
    """The seeds, the mean and the paper's mark; below them the conditions of the trainings."""
    seeds = sorted({seed for arm in outcome.arms for seed in arm.accuracy})
    handles = [
        plt.Line2D([], [], color=COLOURS[seed % len(COLOURS)], marker=MARKERS[number % len(MARKERS)], linestyle="")
        for number, seed in enumerate(seeds)
    ]
    names = [f"seed {seed}" for seed in seeds]
    handles.append(plt.Line2D([], [], color="black", marker="_", linestyle="", markersize=11))
    names.append("mean, deviation")
    if any(arm.reported for arm in outcome.arms):
        handles.append(plt.Line2D([], [], color=PAPER, marker="D", markerfacecolor="white", linestyle=""))
        names.append("reference + paper's points")
    figure.draw_without_rendering()  # fixes the layout, so that the legend can go below it
    figure.set_layout_engine("none")
    legend = figure.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=figure.transFigure,  # the saved figure has another bounding box
        ncols=3,
        fontsize=7.5,
    )
    bottom = legend.get_window_extent().y0 / figure.bbox.height
    warning = "SMALL SETTINGS (--quick). " if outcome.quick else ""
    footnote = "\n".join(textwrap.wrap(warning + outcome.conditions, int(figure.get_figwidth() * 18)))
    figure.text(0.01, bottom, footnote, fontsize=6.5, color="#666666", va="top")

"""Ablations as pictures: a point an arm and seed, mean and deviation beside, and where the paper's gain would lie."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlbench.report.colours import COLOURS, MARKERS
from vlbench.report.figures import PAPER
from vlbench.report.paper import DPI, drawing, save
from vlbench.training.ablation.outcomes import AblationOutcome, ArmOutcome

BESIDE = 0.16  # of the mean, from the arm's place to the left; the paper's mark lies as far to the right
PANEL = 1.2


def draw(outcomes: Sequence[AblationOutcome], folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.svg of each suite of which something is trained; gives the files written.

    Raises OSError where the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with drawing() as plt:
        for outcome in outcomes:
            if any(arm.accuracy for arm in outcome.arms):
                written += save(_picture(outcome, plt), folder, outcome.suite.name, plt)
    return written


def _picture(outcome: AblationOutcome, plt: Any) -> Any:
    models, arms = outcome.suite.models, len(outcome.suite.arms)
    width = max(4.0, (1 + PANEL * arms) * len(models))
    picture, panels = plt.subplots(1, len(models), figsize=(width, 3.6), dpi=DPI, layout="constrained", squeeze=False)
    for axes, model in zip(panels[0], models, strict=True):
        _panel(axes, [arm for arm in outcome.arms if arm.model == model])
        axes.set_title(model)
    panels[0][0].set_ylabel("accuracy, %")
    picture.suptitle(outcome.suite.title, x=0.01, ha="left", fontsize=11)
    _legend(picture, outcome, plt)
    return picture


def _panel(axes: Any, arms: Sequence[ArmOutcome]) -> None:
    reference = next((arm for arm in arms if arm.verdict == "reference"), None)
    for place, arm in enumerate(arms):
        for number, (seed, value) in enumerate(arm.accuracy.items()):
            own = COLOURS[seed % len(COLOURS)], MARKERS[number % len(MARKERS)]
            axes.plot(place, value, own[1], color=own[0], markersize=5, zorder=3)
        if arm.mean is not None:
            axes.errorbar(
                place - BESIDE, arm.mean, yerr=arm.deviation, fmt="_", color="black", markersize=11, capsize=3, zorder=2
            )
        if arm.reported and reference is not None and reference.mean is not None:
            at = reference.mean + arm.reported[0].delta
            axes.plot(place + BESIDE, at, "D", color=PAPER, markerfacecolor="white", markersize=5, zorder=1)
    if reference is not None and reference.mean is not None:
        axes.axhline(reference.mean, color=PAPER, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_xticks(range(len(arms)), ["\n".join(textwrap.wrap(arm.arm, 14)) for arm in arms])
    axes.set_xlim(-0.5, len(arms) - 0.5)
    axes.grid(axis="y", alpha=0.25)


def _legend(picture: Any, outcome: AblationOutcome, plt: Any) -> None:
    """The seeds, the mean, the paper's mark; below, under which conditions."""
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
    picture.draw_without_rendering()  # lays all out; what comes now stands below it
    picture.set_layout_engine("none")
    legend = picture.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=picture.transFigure,  # the saved figure's own box is another
        ncols=3,
        fontsize=7.5,
    )
    bottom = legend.get_window_extent().y0 / picture.bbox.height
    warning = "SMALL SETTINGS (--quick). " if outcome.quick else ""
    foot = "\n".join(textwrap.wrap(warning + outcome.conditions, int(picture.get_figwidth() * 18)))
    picture.text(0.01, bottom, foot, fontsize=6.5, color="#666666", va="top")

"""Where the time of a pass goes, as in ViLT's Figure 1: one bar per measurement, next to the latency of a pass."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.report.colours import NEUTRALS, families_of, family_style, ink_on, stage_colour
from vlbench.report.frames import Results
from vlbench.report.paper import DPI, TALLEST, machines, plain_number, set_foot, set_legend, settle
from vlbench.report.tables import merged_order
from vlbench.report.views import labels, stage_bars
from vlbench.runner.records import Result
from vlbench.tables.numbers import short_number

BAR = 0.72  # height, as a share of the distance between bars
NAME = 38  # letters per line
TICKS = 3
EDGES = 1.1  # inches above and below the bars
INNER = 7  # points, the text within a bar


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError if no measurement has stages, or there are more than can be told apart."""
    bars = stage_bars(results)
    if not len(bars):
        raise InputError("stages: no measurement of these results has stages")
    shown = set(bars["label"])
    cells = {
        label: (folder, result)
        for label, (folder, _, result) in zip(labels(results), results.named, strict=True)
        if label in shown
    }
    names = [textwrap.fill(label, NAME) for label in cells]
    pitch = max(0.34, 0.15 * max(name.count("\n") + 1 for name in names) + 0.08)
    height = EDGES + pitch * len(cells)
    if height > TALLEST:
        most = int((TALLEST - EDGES) / pitch)
        raise InputError(f"stages: {len(cells):,} measurements; up to {most:,} can be drawn, say of one folder")
    drawn, (left, right) = plt.subplots(
        *(1, 2),
        figsize=(9.5, height),
        dpi=DPI,
        width_ratios=(3.4, 1),
        layout="constrained",
        sharey=True,
    )
    for y, label in enumerate(cells):
        _bar(left, bars[bars["label"] == label], y)
        _total(right, cells[label][1], y)
    left.set_yticks(range(len(cells)), names)
    left.tick_params(axis="y", length=0)
    left.set_ylim(len(cells) - 0.5, -0.5)
    left.set_xlim(0, 100)
    left.set_xlabel("share of a pass by stage, %")
    _scale(right)
    settle(drawn, "Where the time of a pass goes")
    for text in left.texts:
        text.set_visible(text_fits(text))
    end = set_legend(drawn, _legend(bars, plt), plt)
    set_foot(drawn, f"{INTERVALS}\n{machines(cells.values())}", end)
    return drawn


INTERVALS = (
    "Shares: medians of passes timed by stage. Right: median of whole passes, with its 95% interval where one is known."
)


def _bar(axes: Any, segments: pd.DataFrame, y: int) -> None:
    start = 0.0
    for segment in segments.to_dict("records"):
        colour, width = stage_colour(segment["family"], segment["stage"]), 100 * segment["share"]
        axes.barh(y, width, BAR, left=start, color=colour, edgecolor="white", linewidth=0.4)
        words = f"{stage_words(segment['stage'])} {width:.0f}%"
        text = axes.text(start + width / 2, y, words, ha="center", va="center", fontsize=INNER, color=ink_on(colour))
        text.room = (start, start + width)
        start += width


def stage_words(stage: str) -> str:
    """A step's name without its stage."""
    name, _, step = stage.partition(".")
    return (step or name).replace("_", " ") if step != "rest" else f"{name}, rest"


def text_fits(text: Any) -> bool:
    """Whether a segment's text fits into it, if need be shortened to the share alone."""
    low, high = (text.axes.transData.transform((end, 0))[0] for end in text.room)
    room = high - low - 4
    if text.get_window_extent().width > room:
        text.set_text(text.get_text().rpartition(" ")[2])
    return bool(text.get_window_extent().width <= room)


def _total(axes: Any, result: Result, y: int) -> None:
    latency = result.latency_ms
    if not latency:
        return
    colour, marker = family_style(result.family)
    if latency.ci95:
        axes.plot(latency.ci95, (y, y), color=colour, linewidth=2, alpha=0.6)
    axes.plot(latency.median, y, marker, color=colour, markersize=5.5)
    axes.annotate(short_number(latency.median), (latency.median, y), (6, 0), **BESIDE)


BESIDE: Any = {"textcoords": "offset points", "va": "center", "fontsize": 8}


def _scale(axes: Any) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    middle, spread = (low * high) ** 0.5, max(high / low, 10) ** 0.5
    low, high = middle / spread**1.16, middle * spread**1.16
    axes.set_xlim(low, middle * spread**2)  # room for the last number
    tens = [10.0**power for power in range(-4, 9) if low <= 10.0**power <= high]
    shown = tens[:: -(-len(tens) // TICKS)]
    axes.set_xticks(shown, [plain_number(ten) for ten in shown])
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("latency of a pass, ms")


def _legend(bars: pd.DataFrame, plt: Any) -> list[tuple[str, list[tuple[Any, str]]]]:
    families = {
        str(family): [list(cell["stage"]) for _, cell in part.groupby("label", sort=False)]
        for family, part in bars.groupby("family")
    }
    return stages_legend(families, plt)


def stages_legend(passes: Mapping[str, Sequence[Sequence[str]]], plt: Any) -> list[tuple[str, list[tuple[Any, str]]]]:
    """One line per family with the stages that only it has; one line with the common stages. `passes` has the stages
    of each pass by family."""

    def entries(family: str, stages: Sequence[str]) -> list[tuple[Any, str]]:
        return [
            (plt.Rectangle((0, 0), 1, 1, color=stage_colour(family, stage)), stage_words(stage)) for stage in stages
        ]

    rows = []
    for family in families_of(passes):
        visual = [stage for stage in merged_order(passes[family]) if stage.partition(".")[0] not in NEUTRALS]
        if visual:
            rows.append((f"{family}:", entries(family, visual)))
    stages = {stage for of_family in passes.values() for each in of_family for stage in each}
    common = [stage for stage in ("text", "interaction", "head", "rest") if stage in stages]
    return [*rows, *([("all:" if rows else "", entries("", common))] if common else [])]

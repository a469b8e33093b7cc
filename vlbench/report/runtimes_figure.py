"""What a runtime buys, by stage: for each model a bar for each backend and precision, eager PyTorch in fp32 first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vlbench.errors import InputError
from vlbench.report.colours import family_style, ink_on, stage_colour
from vlbench.report.frames import Results
from vlbench.report.paper import DPI, PLATE, TALLEST, machines, set_foot, set_legend, settle
from vlbench.report.runtimes import WHOLE_MODEL, RuntimeBar, RuntimeGroup, runtime_groups
from vlbench.report.stages_figure import stage_words, stages_legend, text_fits
from vlbench.tables.numbers import short_number

BAR = 0.74  # height, as a share of the distance between bars
PITCH, HEAD = 0.27, 0.62  # inches: of a bar; of a model's title and axis
ROOM = 1.34  # how much longer an axis is than its longest bar, for what stands behind it
INNER, BEHIND = 7, 8  # points, the text within a bar, and behind it
FOOT = (
    "Behind each bar: median latency of a pass, and how many times that of eager fp32 it is, with the 95% interval of "
    "that if there are enough restarts. Segments: shares of passes timed by stage."
)


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError if no model was measured through several backends or precisions, or too many were."""
    groups = runtime_groups(results)
    if not groups:
        raise InputError(
            "runtimes: no model of these results was measured through several backends or in several precisions; "
            "vlbench run --backend eager,onnxruntime,openvino does that"
        )
    heights = [HEAD + PITCH * len(group.bars) for group in groups]
    if sum(heights) > TALLEST:
        raise InputError(f"runtimes: {len(groups):,} models; fewer can be drawn, say of one folder")
    drawn, panels = plt.subplots(
        len(groups), 1, figsize=(9.5, sum(heights)), dpi=DPI, height_ratios=heights, layout="constrained", squeeze=False
    )
    for (axes,), group in zip(panels, groups, strict=True):
        _panel(axes, group)
    panels[-1][0].set_xlabel("latency of a pass, ms")
    settle(drawn, "What a runtime buys, by stage")
    for (axes,) in panels:
        for text in axes.texts:
            text.set_visible(not hasattr(text, "room") or text_fits(text))
    end = set_legend(drawn, _legend(groups, plt), plt)
    set_foot(drawn, f"{FOOT}\n{machines((group.folder, bar.result) for group in groups for bar in group.bars)}", end)
    return drawn


def _panel(axes: Any, group: RuntimeGroup) -> None:
    for y, bar in enumerate(group.bars):
        _bar(axes, bar, group.family, y)
    axes.set_title(group.label, loc="left", fontsize=9, fontweight="bold", pad=3)
    axes.set_yticks(range(len(group.bars)), [bar.name for bar in group.bars])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(group.bars) - 0.5, -0.5)
    axes.set_xlim(0, ROOM * max(bar.latency_ms for bar in group.bars))
    if group.bars[1].effect:
        axes.axvline(group.bars[0].latency_ms, color="#777777", linewidth=0.7, linestyle=":", zorder=0)


def _bar(axes: Any, bar: RuntimeBar, family: str, y: int) -> None:
    start = 0.0
    for stage, width in bar.segments:
        colour, edge = segment_colours(family, stage)
        axes.barh(y, width, BAR, left=start, color=colour, edgecolor=edge, linewidth=0.4)
        words = f"{stage_words(stage)} {short_number(width)}"
        text = axes.text(start + width / 2, y, words, ha="center", va="center", fontsize=INNER, color=ink_on(colour))
        text.room = (start, start + width)
        start += width
    axes.annotate(bar.words, (start, y), (4, 0), textcoords="offset points", va="center", fontsize=BEHIND, bbox=PLATE)


def segment_colours(family: str, stage: str) -> tuple[str, str]:
    """Of the area and its edge."""
    return ("#FFFFFF", family_style(family)[0]) if stage == WHOLE_MODEL else (stage_colour(family, stage), "#FFFFFF")


def _legend(groups: Sequence[RuntimeGroup], plt: Any) -> list[tuple[str, list[tuple[Any, str]]]]:
    passes: dict[str, list[list[str]]] = {}
    for group in groups:
        passes.setdefault(group.family, []).extend(
            [stage for stage, _ in bar.segments if stage != WHOLE_MODEL] for bar in group.bars
        )
    rows = stages_legend(passes, plt)
    if any(bar.segments[0][0] == WHOLE_MODEL for group in groups for bar in group.bars):
        white = plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="#777777")
        rows.append(("", [(white, "a whole model that was converted at once, which has no stages")]))
    return rows

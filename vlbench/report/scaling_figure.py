"""How latency grows with batch, image and tokens: one panel per axis that was measured, one line per model."""

from __future__ import annotations

from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.report.colours import family_style, stage_colour
from vlbench.report.frames import Results
from vlbench.report.paper import DPI, machines, plain_ticks, set_foot, settle
from vlbench.report.views import AXES, LEAST, scaling

WORDS = {"batch": "batch, examples", "image pixels": "image, million pixels", "tokens": "tokens of text and image"}
SHADES = (
    "",
    "visual.projection",
    "visual.backbone",
    "visual.nms",
)  # of a family's lines; the first has the family's colour
DASHES = ("-", "--", ":", "-.")
PANEL = 4.4  # inches


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError if no model was measured at three positions of an axis."""
    lines = scaling(results)
    if not len(lines):
        raise InputError(
            f"scaling: no model of these results was measured at {LEAST} batches, image sizes or token counts"
        )
    shown = [axis for axis in AXES if axis in set(lines["axis"])]
    most = max(lines.groupby("axis")["line"].nunique())
    size = (max(PANEL * len(shown), 6.0), 3.5 + 0.17 * most)
    drawn, panels = plt.subplots(1, len(shown), figsize=size, dpi=DPI, squeeze=False, layout="constrained")
    for axes, axis in zip(panels[0], shown, strict=True):
        _panel(axes, lines[lines["axis"] == axis])
        _ticks(axes, sorted(set(lines.loc[lines["axis"] == axis, "x"])), millions=axis == "image pixels")
        axes.set_xlabel(WORDS[axis])
        # below the axes and in one column, so that long names do not squeeze them
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), borderaxespad=0, fontsize=8, handlelength=3)
    panels[0][0].set_ylabel("latency of a pass, ms")
    settle(drawn, "How latency grows")
    known = "Shaded: 95% intervals. " if lines["low"].notna().any() else ""
    used = set(lines["folder"])
    measured = ((folder, result) for folder, _, result in results.named if folder in used and result.status == "ok")
    set_foot(drawn, known + machines(measured))
    return drawn


def _panel(axes: Any, lines: pd.DataFrame) -> None:
    seen: dict[str, int] = {}
    for name, line in lines.groupby("line", sort=False):
        family = line["family"].iloc[0]
        number = seen[family] = seen.get(family, -1) + 1
        colour, marker = family_style(family)
        shade = SHADES[number % len(SHADES)]
        style = {"color": stage_colour(family, shade) if shade else colour, "linestyle": DASHES[number % len(DASHES)]}
        filled = number < len(DASHES)
        axes.plot(
            *(line["x"], line["latency_ms"]),
            marker=marker,
            markersize=4.5,
            label=name,
            **style,
            markerfacecolor=style["color"] if filled else "white",
        )
        known = line[line["low"].notna()]
        axes.fill_between(known["x"], known["low"], known["high"], color=style["color"], alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.yaxis)
    axes.grid(alpha=0.25)


def _ticks(axes: Any, positions: list[int], *, millions: bool) -> None:
    """At the measured positions, without those that are too near to the one before."""
    spread = positions[-1] / positions[0]
    ticks: list[int] = []
    for position in positions:
        if not ticks or position >= ticks[-1] * max(1.1, spread**0.09):
            ticks.append(position)
    axes.set_xticks(ticks, [f"{tick / 1e6:.2g}" if millions else f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)

"""The roofline: achieved GFLOP/s of passes and stages over arithmetic intensity, below the machine's peaks."""

from __future__ import annotations

from itertools import pairwise
from math import isnan
from typing import Any

import numpy as np
import pandas as pd

from vlbench.errors import InputError
from vlbench.report.colours import families_of, family_style
from vlbench.report.frames import Results
from vlbench.report.labels import Line, place_labels
from vlbench.report.paper import DPI, PLATE, machines, plain_ticks, set_foot, set_legend, settle
from vlbench.report.views import LEAST_SHARE, PASS, ROOF, notes_above_roofs, roofline
from vlbench.tables.numbers import short_number

MARK, SMALL = 6.5, 3.2  # points
LINE = "#333333"
RIDGE: Any = {"markersize": 3.5, "markerfacecolor": "white"}
DASHES = ("-", "--", "-.", ":")
NO_PEAKS = "These results hold no peaks of the machine; vlbench run measures them."
MFU = "Percent: MFU, of the peak."
HOW = "Each operator's reads and writes count as bytes moved. Small: stages, or their steps, of 1% of a pass or more."


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError if no measurement has its bytes moved."""
    points, roofs = roofline(results)
    points = points[(points["share"] >= LEAST_SHARE) & ~_has_steps(points)]
    if not len(points):
        raise InputError("roofline: no measurement of these results has bytes moved; vlbench run counts them")
    met = roofs.merge(points[ROOF].drop_duplicates(), on=ROOF) if len(roofs) else roofs
    roofs = met if len(met) else roofs
    drawn, axes = plt.subplots(figsize=(7.4, 4.6 + 0.07 * min(len(_passes(points)), 20)), dpi=DPI, layout="constrained")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _limit(axes, points, roofs)
    lines = _draw_roofs(axes, roofs)
    small = points[points["stage"] != PASS]
    for part, style in (
        (small, {"markersize": SMALL, "markerfacecolor": "white"}),
        (_passes(points), {"markersize": MARK}),
    ):
        for point in part.to_dict("records"):
            colour, marker = family_style(point["family"])
            axes.plot(point["intensity"], point["gflops_per_second"], marker, color=colour, zorder=3, **style)
    for axis in (axes.xaxis, axes.yaxis):
        plain_ticks(axis)
    axes.set_xlabel("arithmetic intensity, FLOPs a byte moved")
    axes.set_ylabel("achieved, GFLOP/s")
    axes.grid(alpha=0.25)
    settle(drawn, "What the machine allows, and what is achieved")
    _name(axes, points, lines)
    end = set_legend(drawn, [("", _legend(points, plt)), *_roof_legend(roofs, plt)], plt)
    measured = ((folder, result) for folder, _, result in results.named if result.status == "ok")
    notes = notes_above_roofs(points, roofs)
    how = HOW if len(roofs) else f"{HOW} {NO_PEAKS}"
    how += f" {MFU}" if points["mfu"].notna().any() else ""
    set_foot(drawn, "\n".join((how, *notes, machines(measured))), end)
    return drawn


def _passes(points: pd.DataFrame) -> pd.DataFrame:
    return points[points["stage"] == PASS]


def _has_steps(points: pd.DataFrame) -> pd.Series:
    """Per point, whether the same measurement also has points of its steps."""
    owners = set(zip(points["label"], points["of"], strict=True))
    return pd.Series(
        [pair in owners for pair in zip(points["label"], points["stage"], strict=True)], index=points.index
    )


def _limit(axes: Any, points: pd.DataFrame, roofs: pd.DataFrame) -> None:
    """Shows all points and ridges, with room for names."""
    across = [*points["intensity"], *roofs["ridge"]]
    upward = [*points["gflops_per_second"], *roofs["peak_gflops"]]
    axes.set_xlim(min(across) / 2, max(across) * 3)
    axes.set_ylim(min(upward) / 1.8, max(upward) * 1.8)


def _draw_roofs(axes: Any, roofs: pd.DataFrame) -> list[Line]:
    """Draws the roofs, and returns the lines that names should not cross, in short pieces where they climb."""
    low, high = axes.get_xlim()
    lines: list[Line] = []
    for number, roof in enumerate(roofs.to_dict("records")):
        peak, speed, ridge = roof["peak_gflops"], roof["gigabytes_per_second"], roof["ridge"]
        dash = DASHES[number % len(DASHES)]
        axes.plot((low, ridge, high), (low * speed, peak, peak), dash, color=LINE, linewidth=1.1, zorder=1)
        axes.plot(ridge, peak, "o", color=LINE, zorder=2, **RIDGE)
        lines.append(((ridge, high), (peak, peak)))
        lines += [((a, b), (a * speed, b * speed)) for a, b in pairwise(np.geomspace(low, ridge, 60))]
    return lines


def _name(axes: Any, points: pd.DataFrame, lines: list[Line]) -> None:
    passes, small = (points[points["stage"].eq(PASS) == whole] for whole in (True, False))
    at = list(zip(passes["intensity"], passes["gflops_per_second"], strict=True))
    marks = zip(small["intensity"], small["gflops_per_second"], strict=True)
    lines += [((x * 0.985, x * 1.015), (y, y)) for x, y in marks]
    words = [
        label if isnan(mfu) else f"{label}, {mfu:.0%}"
        for label, mfu in zip(passes["label"], passes["mfu"], strict=True)
    ]
    place_labels(axes, at, words, mark=MARK, lines=lines, fontsize=7.5, color="#222222", bbox=PLATE)


def _legend(points: pd.DataFrame, plt: Any) -> list[tuple[Any, str]]:
    def mark(colour: str, marker: str, **style: Any) -> Any:
        return plt.Line2D([], [], color=colour, marker=marker, linestyle="", **style)

    entries = [(mark(*family_style(family), markersize=MARK), family) for family in families_of(points["family"])]
    if (points["stage"] != PASS).any():
        entries.append((mark("#777777", "o", markersize=SMALL, markerfacecolor="white"), "stages"))
    return entries


def _roof_legend(roofs: pd.DataFrame, plt: Any) -> list[tuple[str, list[tuple[Any, str]]]]:
    """One line per roof."""
    rows = []
    for number, roof in enumerate(roofs.to_dict("records")):
        dash = DASHES[number % len(DASHES)]
        line = plt.Line2D([], [], color=LINE, linewidth=1.1, linestyle=dash, marker="o", **RIDGE)
        peak, speed, ridge = (short_number(roof[name]) for name in ("peak_gflops", "gigabytes_per_second", "ridge"))
        words = f"{roof['label']}: {peak} GFLOP/s, {speed} GB/s as measured; ridge at {ridge} FLOPs a byte"
        rows.append(("", [(line, words)]))
    return rows

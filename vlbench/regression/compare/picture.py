"""A comparison as one picture: the change of each measurement with its interval, and the threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.files.figures import NO_FORMULAS, write_figure
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import CellOutcome, Comparison
from vlbench.regression.compare.tables import headline
from vlbench.regression.compare.verdicts import change, in_percent

SUFFIXES = (".png", ".svg")
# Okabe and Ito's palette, for colour-blind readers, too; the markers differ as well
LOOKS: dict[str, dict[str, Any]] = {
    "slower": {"marker": ">", "color": "#D55E00"},
    "faster": {"marker": "<", "color": "#0072B2"},
    "same": {"marker": "o", "color": "#009E73"},
    "unknown": {"marker": "D", "color": "#666666", "markerfacecolor": "white"},
}
LEAST_REACH, MOST_REACH = 0.08, 0.6  # how far the axis extends either way, as a change
NAME_COLUMNS, REASON_COLUMNS = 34, 80
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "svg.hashsalt": "vlbench",  # the same figure gives the same file
    **NO_FORMULAS,
}


def check_picture(path: Path) -> None:
    """Raises InputError where no picture can be written to the path."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--picture {path}: not {' or '.join(SUFFIXES)}; {path.with_suffix('.png').name} works")
    if not path.absolute().parent.is_dir():
        raise InputError(f"--picture {path}: no folder {path.parent}; make it first")


def draw(comparison: Comparison, path: Path) -> None:
    """Writes a PNG or an SVG, by the suffix of the path. Raises OSError where it cannot be written."""
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.use("Agg")
    cells = comparison.cells
    with plt.rc_context(STYLE):
        picture, axes = plt.subplots(figsize=(8, 1.7 + 0.34 * len(cells)), layout="constrained")
        reach = _reach(cells)
        for row, cell in enumerate(cells):
            _threshold(axes, cell, row)
            _whisker(axes, cell, row, reach)
        axes.axvline(0, color="#444444", linewidth=1, zorder=1)
        axes.set_yticks(range(len(cells)), [_shortened(cell.cell) for cell in cells])
        for label, cell in zip(axes.get_yticklabels(), cells, strict=True):
            label.set_fontweight("bold" if cell.regressed else "normal")
        axes.tick_params(axis="y", length=0, pad=8)
        axes.set_ylim(len(cells) - 0.4, -0.6)
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+g}%" if value else "0")
        axes.set_xlabel(
            f"latency of HEAD against BASE, intervals of {in_percent(comparison.confidence)}; shaded: threshold"
        )
        _legend(axes, cells, plt)
        title = textwrap.fill(headline(comparison), 100)
        picture.suptitle(title, x=0.01, ha="left", fontsize=10)
        write_figure(picture, path, dpi=160, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        plt.close(picture)


def _shortened(name: str) -> str:
    """The beginning and the end of a long name, which ends with settings."""
    half = NAME_COLUMNS // 2
    return name if len(name) <= NAME_COLUMNS else f"{name[: half - 2]}...{name[1 - half :]}"


def _reach(cells: Sequence[CellOutcome]) -> float:
    """How far the axis extends either way: over every interval, up to a limit."""
    ends = [2 * cell.threshold for cell in cells]
    for cell in cells:
        if cell.effect:
            ends += [1.15 * abs(bound - 1) for bound in (cell.effect.ratio, *_bounds(cell.effect)) if bound is not None]
    return min(max([LEAST_REACH, *ends]), MOST_REACH)


def _bounds(effect: Effect) -> tuple[float | None, float | None]:
    return effect.low, effect.high


def _threshold(axes: Any, cell: CellOutcome, row: int) -> None:
    low, high = 1 / (1 + cell.threshold) - 1, cell.threshold
    axes.barh(row, high - low, 1.0, left=low, color="#EEEEEE", zorder=0)


def _whisker(axes: Any, cell: CellOutcome, row: int, reach: float) -> None:
    """A dot with its interval; an arrow if the interval goes beyond the axis; the reason if there is no effect."""
    if cell.effect is None:
        text = textwrap.shorten(cell.reason or "", REASON_COLUMNS, placeholder="...")
        small = {"va": "center", "fontsize": 7.5, "color": "#444444"}
        axes.annotate(text, (0.01, row), xycoords=("axes fraction", "data"), **small)
        return
    look = LOOKS[cell.verdict]
    low, high = (
        (bound - 1 if bound is not None else sign * 9.0)
        for bound, sign in zip(_bounds(cell.effect), (-1, 1), strict=True)
    )
    axes.plot((max(low, -reach), min(high, reach)), (row, row), color=look["color"], linewidth=2, zorder=2)
    for end, beyond, marker in ((-reach, low < -reach, "<"), (reach, high > reach, ">")):
        if beyond:
            axes.plot(end, row, marker, color=look["color"], markersize=4, clip_on=False, zorder=2)
    at = min(max(cell.effect.ratio - 1, -reach), reach)
    axes.plot(at, row, linestyle="", markersize=7, markeredgewidth=1.5, clip_on=False, zorder=3, **look)
    axes.annotate(change(cell.effect.ratio), (1.02, row), xycoords=("axes fraction", "data"), va="center")


def _legend(axes: Any, cells: Sequence[CellOutcome], plt: Any) -> None:
    """A legend in one row below the label of the axis."""
    verdicts = [verdict for verdict in LOOKS if any(cell.verdict == verdict for cell in cells)]
    handles = [plt.Line2D([], [], linestyle="", markersize=7, markeredgewidth=1.5, **LOOKS[name]) for name in verdicts]
    axes.legend(
        handles, verdicts, loc="upper center", bbox_to_anchor=(0.5, 0.0), borderaxespad=4.5, ncols=4, frameon=False
    )

"""A history as a figure: one panel per series, grouped by machine."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from vlbench.errors import InputError
from vlbench.files.figures import NO_FORMULAS, write_figure
from vlbench.regression.history.runs import HistoryRun
from vlbench.regression.history.series import Names, Series, name_all
from vlbench.tables.numbers import signed_percent

# Of Okabe and Ito's palette, which colour-blind readers can tell apart
POINT, SLOWER, FASTER, SOFTWARE, GAP = "#0072B2", "#D55E00", "#009E73", "#777777", "#CC79A7"
STYLE: Any = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "vlbench",  # the same figure gives the same file
    **NO_FORMULAS,
}
KINDS = (".png", ".svg")
PANEL = (4.6, 2.1)  # inches
TITLE = 56  # letters in a line of it
DATES = 5  # at the most, below a panel


def check_figure(path: Path) -> None:
    """Raises InputError where no picture can be written, before anything is read."""
    if path.suffix not in KINDS:
        raise InputError(f"--figure {path}: ends in neither {' nor '.join(KINDS)}")
    if not path.parent.is_dir():
        raise InputError(f"--figure {path}: there is no folder {path.parent}; make it first")


def draw(history: Sequence[Series], path: Path) -> int:
    """Writes the picture: medians with their intervals in the order measured, change points, drifts, software changes.

    Gives how many series are not in it: those of a single latency, where any has more.
    Raises InputError where there is no latency to draw, OSError where the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  slow to import, and only drawing needs it
    from matplotlib import pyplot as plt  # noqa: PLC0415

    timed = [series for series in history if series.timed]
    shown = [series for series in timed if len(series.timed) > 1] or timed
    if not shown:
        raise InputError(f"--figure {path}: no run has a latency to draw")
    mpl.use("Agg")
    names = name_all(history)
    groups = [list(group) for _, group in groupby(sorted(shown, key=_by_machine), key=_by_machine)]
    with plt.rc_context(STYLE):
        picture = _panels(groups, names, plt)
        undated = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
        write_figure(picture, path, dpi=150, bbox_inches="tight", **undated)
        plt.close(picture)
    return len(history) - len(shown)


def _by_machine(series: Series) -> Any:
    return series.hardware


def _panels(groups: Sequence[Sequence[Series]], names: Names, plt: Any) -> Any:
    """A picture with a block of panels a machine, each under the machine's name."""
    columns = min(max(map(len, groups)), 2 if sum(map(len, groups)) <= 8 else 3)
    rows = [-(-len(group) // columns) for group in groups]
    width, height = PANEL if columns > 1 else (7.0, 3.0)
    picture = plt.figure(figsize=(width * columns, height * sum(rows) + 0.35 * len(rows) + 0.3), layout="constrained")
    blocks = picture.subfigures(len(groups), 1, height_ratios=rows, squeeze=False)[:, 0]
    for group, block, count in zip(groups, blocks, rows, strict=True):
        letter = names.machine(group[0])
        heading = f"{letter + ': ' if letter else ''}{group[0].hardware.in_words()}; {names.common}"
        block.suptitle("\n".join(textwrap.wrap(heading, int(width * columns * 16))), x=0.01, ha="left", fontsize=8)
        panels = block.subplots(count, columns, squeeze=False).ravel()
        for series, axes in zip(group, panels, strict=False):
            _panel(series, names, axes)
        for axes in panels[len(group) :]:
            axes.set_visible(False)
    blocks[-1].legend(*_legend(groups, plt), loc="outside lower left", ncols=6, fontsize=7)
    return picture


def _panel(series: Series, names: Names, axes: Any) -> None:
    low, high = _limits(series)
    axes.set_ylim(low, high)
    axes.set_xlim(-0.7, len(series.runs) - 0.3)
    for index, run in enumerate(series.runs):
        _point(axes, index, run, low, high)
    _levels(axes, series)
    _software(axes, series)
    label = names.settings(series)
    verdict = f"   drift {signed_percent(series.drift)}" if series.drift is not None else ""
    title = series.model + (f", {label}" if label else "") + verdict
    axes.set_title("\n".join(textwrap.wrap(title, TITLE)), pad=14 if series.shifts else 6)
    axes.set_ylabel("latency, ms")
    axes.grid(axis="y", alpha=0.25)
    dated = _dated(len(series.runs))
    axes.set_xticks(dated, [f"{series.runs[index].measured_at:%Y-%m-%d}" for index in dated])


def _limits(series: Series) -> tuple[float, float]:
    """From what is judged, so that a contended run does not flatten the rest; 10% at the least."""
    runs = series.judged or series.timed
    medians = [run.latency_ms for run in runs if run.latency_ms]
    bounds = [bound for run in runs for bound in run.interval_ms or ()]
    middle = sorted(medians)[len(medians) // 2]
    low, high = min([*medians, *bounds, 0.95 * middle]), max([*medians, *bounds, 1.05 * middle])
    return low - 0.12 * (high - low), high + 0.06 * (high - low)


def _point(axes: Any, index: int, run: HistoryRun, low: float, high: float) -> None:
    if run.latency_ms is None:
        axes.plot(index, 0.03, "x", color=GAP, markersize=4, transform=axes.get_xaxis_transform())
        return
    hidden = not low <= run.latency_ms <= high
    if run.interval_ms and not hidden:
        axes.plot((index, index), run.interval_ms, color=POINT, linewidth=0.8, alpha=0.5 if run.judged else 0.25)
    axes.plot(
        index,
        min(max(run.latency_ms, low), high),
        ("^" if run.latency_ms > high else "v") if hidden else "o",
        color=POINT,
        markersize=3.5,
        markerfacecolor=POINT if run.judged else "white",
        clip_on=False,
        zorder=3,
    )


def _levels(axes: Any, series: Series) -> None:
    """Each level as a line, each change point as another, across, with how much it is."""
    ends = [*(shift.index - 0.5 for shift in series.shifts), len(series.runs) - 0.5]
    for shift, start, end in zip(series.shifts, [-0.5, *ends], ends[1:], strict=False):
        colour, at = SLOWER if shift.change > 0 else FASTER, shift.index - 0.5
        axes.hlines(shift.before_ms, start, at, color="#333333", linewidth=0.9, zorder=2)
        axes.hlines(shift.after_ms, at, end, color="#333333", linewidth=0.9, zorder=2)
        axes.axvline(at, color=colour, linewidth=1.2, zorder=1)
        axes.annotate(
            signed_percent(shift.change),
            (at, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=colour,
            fontsize=7.5,
        )


def _software(axes: Any, series: Series) -> None:
    """A tick on the axis where versions changed, named where there is room."""
    named_at = -len(series.runs)
    for index, events in groupby(series.events, key=lambda event: event.index):
        texts = [event.text for event in events]
        axes.axvline(index - 0.5, color=SOFTWARE, linewidth=0.8, linestyle=":", zorder=0)
        if index - named_at < 0.06 * len(series.runs):
            continue
        named_at = index
        more = f" +{len(texts) - 1}" if len(texts) > 1 else ""
        axes.annotate(
            _short(texts[0]) + more,
            (index - 0.5, 0.02),
            xycoords=axes.get_xaxis_transform(),
            xytext=(2, 0),
            textcoords="offset points",
            rotation=90,
            ha="left",
            va="bottom",
            fontsize=5.5,
            color=SOFTWARE,
        )


def _short(text: str) -> str:
    """`torch 2.15.0` of `torch 2.14.0 -> 2.15.0`; the name alone where the value is long."""
    name, _, _ = text.partition(" ")
    value = text.rpartition(" -> ")[2]
    return f"{name} {value}" if len(value) <= 12 else name


def _dated(count: int) -> list[int]:
    """At most `DATES` indices from the first to the last."""
    steps = min(count, DATES) - 1
    return sorted({round(step * (count - 1) / steps) for step in range(steps + 1)}) if steps else [0]


def _legend(groups: Sequence[Sequence[Series]], plt: Any) -> tuple[list[Any], list[str]]:
    every = [series for group in groups for series in group]
    runs = [run for series in every for run in series.runs]
    measured = "median over restarts, 95% interval" if any(run.interval_ms for run in runs) else "median"

    def mark(sign: str, colour: str, **style: Any) -> Any:
        return plt.Line2D([], [], marker=sign, color=colour, linestyle="", markersize=4, **style)

    def line(colour: str, style: str = "-") -> Any:
        return plt.Line2D([], [], color=colour, linestyle=style, linewidth=1.2)

    entries = [
        (mark("o", POINT), measured, True),
        (mark("o", POINT, markerfacecolor="white"), "contended", any(r.latency_ms and not r.judged for r in runs)),
        (mark("x", GAP), "no latency", any(run.latency_ms is None for run in runs)),
        (line(SLOWER), "slower", any(shift.change > 0 for series in every for shift in series.shifts)),
        (line(FASTER), "faster", any(shift.change < 0 for series in every for shift in series.shifts)),
        (line(SOFTWARE, ":"), "software changed", any(series.events for series in every)),
    ]
    shown = [(handle, label) for handle, label, occurs in entries if occurs]
    return [handle for handle, _ in shown], [label for _, label in shown]

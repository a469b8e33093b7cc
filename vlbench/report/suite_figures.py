"""Suites as figures: measured values next to those of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlbench.measuring.machine import Machine
from vlbench.report.colours import COLOURS, MARKERS, MEASURED, NO_FAMILY
from vlbench.report.paper import drawing, plain_ticks, save, set_foot, settle
from vlbench.suites.outcomes import ReproducedCell, Reproduction, SuiteOutcome, contentions
from vlbench.tables.numbers import short_number

PAPER = "#444444"


def draw(reproduction: Reproduction, folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.svg for each suite that has the values its figure needs; returns the files written.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with drawing() as plt:
        for outcome in reproduction.suites:
            drawn = picture(outcome, reproduction.machine, plt)
            if drawn is not None:
                written += save(drawn, folder, outcome.suite.name, plt)
    return written


def picture(outcome: SuiteOutcome, machine: Machine | None, plt: Any) -> Any:
    """The figure that a suite's file describes; None if the values that it shows are missing."""
    drawn = PICTURES[outcome.suite.figure.kind](outcome, plt)
    if drawn is not None:
        settle(drawn, outcome.suite.title)
        set_foot(drawn, _foot(outcome, machine))
    return drawn


def _foot(outcome: SuiteOutcome, machine: Machine | None) -> str:
    """The machine, if the suite has latencies, and which of them are contended."""
    if not machine or not any(cell.category == "latency" for cell in outcome.cells):
        return ""
    warning = "SMALL SETTINGS (--quick), not the paper's. " if outcome.quick else ""
    contended = (f"Not to be trusted: {reason}" for reason in contentions(outcome.cells))
    return "\n".join([warning + machine.in_words(), *contended])


def _stages(outcome: SuiteOutcome, plt: Any) -> Any:
    """Left the share of a pass that each stage takes, the paper's as outlines; right the latency of a pass."""
    figure = outcome.suite.figure
    rows = _rows_with(outcome, figure.columns)
    if not rows:
        return None
    picture, (left, right) = plt.subplots(
        1, 2, figsize=(9.5, 1.5 + 0.75 * len(rows)), width_ratios=(3.4, 1), layout="constrained", sharey=True
    )
    for index, row in enumerate(rows):
        starts = {"measured": 0.0, "reported": 0.0}
        for column, colour in zip(figure.columns, NO_FAMILY, strict=False):
            cell = outcome.cell(row, column)  # None if the suite has changed since
            for of, height, y in (("measured", 0.36, index - 0.2), ("reported", 0.26, index + 0.2)):
                value = _number(getattr(cell, of, None)) or 0.0
                fill = {"color": colour} if of == "measured" else {"facecolor": "none", "edgecolor": colour}
                left.barh(y, value, height, left=starts[of], **fill, linewidth=1.6)
                starts[of] += value
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in NO_FAMILY[: len(figure.columns)]]
    names = [outcome.suite.column(column).title.removesuffix(" share") for column in figure.columns]
    handles.append(plt.Rectangle((0, 0), 1, 1, facecolor="none", edgecolor=PAPER, linewidth=1.6))
    _legend_below(left, handles, [*names, "outline: paper"], side="left")
    left.set_yticks(range(len(rows)), _marked(outcome, rows))
    left.invert_yaxis()
    left.set_xlim(0, 104)
    left.set_xlabel("share of a pass, %")
    _totals(outcome, rows, right)
    return picture


def _legend_below(axes: Any, handles: Sequence[Any], labels: Sequence[str], *, side: str) -> None:
    """A legend of one row below the label of the x axis."""
    corner = (0.0 if side == "left" else 1.0, 0.0)
    axes.legend(
        handles,
        labels,
        loc=f"upper {side}",
        bbox_to_anchor=corner,
        borderaxespad=5,
        ncols=len(labels),
        fontsize=8,
        columnspacing=1,
        handlelength=1.2,
    )


def _totals(outcome: SuiteOutcome, rows: Sequence[str], axes: Any) -> None:
    name = outcome.suite.figure.total
    if name is None:
        return
    cells = [outcome.cell(row, name) for row in rows]
    for index, cell in enumerate(cells):
        for of, y, marker, colour in (("measured", -0.2, "o", MEASURED), ("reported", 0.2, "|", PAPER)):
            value = _number(getattr(cell, of, None))
            if value:
                axes.plot(value, index + y, marker, color=colour, markersize=8, markeredgewidth=2)
                text = short_number(value) if of == "measured" else f"{value:,g}"
                axes.annotate(text, (value, index + y), (7, 0), textcoords="offset points", va="center")
    axes.set_xscale("log")
    axes.margins(x=0.4)
    plain_ticks(axes.xaxis)
    axes.set_xlabel(f"{_label(outcome, name)}: measured (dot), paper (line)")


def _lines(outcome: SuiteOutcome, plt: Any) -> Any:
    """Columns over another: one line per model and column, named by what differs; 95% intervals are shaded."""
    figure = outcome.suite.figure
    assert figure.x
    rows = _rows_with(outcome, (*figure.columns, figure.x), every=True)
    if not rows:
        return None
    facets = _values(outcome, rows, figure.facet)
    picture, panels = plt.subplots(
        1, len(facets), figsize=(max(6.0, 3.4 * len(facets)), 3.9), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, facet in zip(panels[0], facets, strict=True):
        shown = [row for row in rows if figure.facet is None or _value(outcome, row, figure.facet) == facet]
        models = list(dict.fromkeys(_model(outcome, row) for row in shown))
        series = [(model, column) for model in models for column in figure.columns]
        for (model, column), colour, marker in zip(series, COLOURS, MARKERS, strict=False):
            label = outcome.suite.column(column).title if len(models) == 1 else (model or "")
            of_model = [row for row in shown if _model(outcome, row) == model]
            mark = next(filter(None, (_mark(outcome, row, column) for row in of_model)), "")
            _line(axes, outcome, of_model, column, colour=colour, marker=marker, label=label + mark)
        if figure.facet:
            axes.set_title(f"{facet:,g} {outcome.suite.column(figure.facet).title}")
        axes.set_xlabel(_label(outcome, figure.x))
        if figure.log:
            _log_axes(axes, sorted({_value(outcome, row, figure.x) or 0 for row in shown}))
        else:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.25)
        if len(series) > 1 or any(_mark(outcome, row) for row in shown):
            axes.legend(fontsize=8)
    units = list(dict.fromkeys(_label(outcome, column) for column in figure.columns))
    same = outcome.suite.column(figure.columns[0]).unit
    panels[0][0].set_ylabel(units[0] if len(units) == 1 else same)
    return picture


def _line(
    axes: Any, outcome: SuiteOutcome, rows: Sequence[str], column: str, *, colour: str, marker: str, label: str
) -> None:
    x = [_value(outcome, row, outcome.suite.figure.x or "") for row in rows]
    cells = [outcome.cell(row, column) for row in rows]
    axes.plot(x, [_number(cell.measured) for cell in cells if cell], marker=marker, color=colour, label=label, ms=4.5)
    known = [(at, cell.interval) for at, cell in zip(x, cells, strict=True) if cell and cell.interval]
    if known:
        known_x, intervals = zip(*known, strict=True)
        lows, highs = zip(*intervals, strict=True)
        axes.fill_between(known_x, lows, highs, color=colour, alpha=0.2, linewidth=0)


def _log_axes(axes: Any, ticks: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    apart = [tick for tick, last in zip(ticks, [0.0, *ticks], strict=False) if tick > 1.1 * last]
    axes.set_xticks(apart, [f"{tick:,g}" if tick >= 10 else f"{tick:.2g}" for tick in apart])
    plain_ticks(axes.yaxis)
    axes.xaxis.set_tick_params(which="minor", bottom=False)


def _bars(outcome: SuiteOutcome, plt: Any) -> Any:
    """One panel per column, one line per row: a dot for the measured value, its 95% interval, a bar for the paper's."""
    figure = outcome.suite.figure
    columns = [column for column in figure.columns if _rows_with(outcome, (column,))]
    if not columns:
        return None
    rows = [row.label for row in outcome.suite.rows]
    picture, panels = plt.subplots(
        1,
        len(columns),
        figsize=(1.8 + 2.9 * len(columns), 1.4 + 0.32 * len(rows)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, column in zip(panels[0], columns, strict=True):
        for y, row in enumerate(rows):
            _dot(axes, outcome.cell(row, column), y)
        axes.set_xlabel(_label(outcome, column))
        axes.margins(x=0.1)
        if figure.log:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
        else:
            axes.set_xlim(left=0)
        axes.grid(alpha=0.25)
    panels[0][0].set_yticks(range(len(rows)), _marked(outcome, rows))
    panels[0][0].set_ylim(len(rows) - 0.5, -0.5)
    kinds = [("o", MEASURED, "measured here")]
    if any(cell.reported is not None for cell in outcome.cells if cell.quantity in columns):
        kinds.append(("|", COLOURS[5], "paper"))
    handles = [
        plt.Line2D([], [], marker=sign, color=colour, linestyle="", markeredgewidth=2) for sign, colour, _ in kinds
    ]
    _legend_below(panels[0][-1], handles, [label for *_, label in kinds], side="right")
    return picture


def _dot(axes: Any, cell: ReproducedCell | None, y: int) -> None:
    measured, reported = _number(cell.measured if cell else None), _number(cell.reported if cell else None)
    if cell and cell.interval:
        axes.plot(cell.interval, (y, y), color=MEASURED, linewidth=2)
    if measured is not None:
        axes.plot(measured, y, "o", color=MEASURED, markersize=6)
    if reported is not None:
        axes.plot(reported, y, "|", color=COLOURS[5], markersize=12, markeredgewidth=2)


PICTURES: dict[str, Callable[[SuiteOutcome, Any], Any]] = {"stages": _stages, "lines": _lines, "bars": _bars}


def _rows_with(outcome: SuiteOutcome, columns: Sequence[str], *, every: bool = False) -> list[str]:
    """The rows that have a number in at least one of the columns, or in every column."""
    are_enough = all if every else any
    labels = [row.label for row in outcome.suite.rows]
    return [label for label in labels if are_enough(_value(outcome, label, column) is not None for column in columns)]


def _mark(outcome: SuiteOutcome, row: str, column: str | None = None) -> str:
    """What stands behind a name, if the latency of the row in the column, or in any column, is contended."""
    cells = (cell for cell in outcome.cells if cell.row == row and column in (None, cell.quantity))
    return next((cell.mark for cell in cells if cell.mark), "")


def _marked(outcome: SuiteOutcome, rows: Sequence[str]) -> list[str]:
    return [row + _mark(outcome, row) for row in rows]


def _values(outcome: SuiteOutcome, rows: Sequence[str], column: str | None) -> list[float | None]:
    if column is None:
        return [None]
    return list(dict.fromkeys(_value(outcome, row, column) for row in rows))


def _value(outcome: SuiteOutcome, row: str, column: str) -> float | None:
    cell = outcome.cell(row, column)
    return _number(cell.measured) if cell else None


def _number(value: float | str | None) -> float | None:
    return None if isinstance(value, str) or value is None else float(value)


def _model(outcome: SuiteOutcome, row: str) -> str | None:
    return next((cell.model for cell in outcome.cells if cell.row == row), None)


def _label(outcome: SuiteOutcome, name: str) -> str:
    column = outcome.suite.column(name)
    return f"{column.title}, {column.unit}" if column.unit else column.title

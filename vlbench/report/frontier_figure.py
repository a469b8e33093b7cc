"""The frontier as a figure: accuracy over latency and over MACs, one point per model, and the Pareto line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vlbench.errors import InputError, nearest
from vlbench.report.colours import MARKERS, families_of, family_style
from vlbench.report.frames import Results
from vlbench.report.frontier import COSTS, ON, comparable, frontier_frame, interval, left_out
from vlbench.report.labels import Line, place_labels
from vlbench.report.paper import DPI, drawing, plain_ticks, save, set_foot, settle
from vlbench.runner.backends import BACKENDS
from vlbench.runner.execution import is_reference
from vlbench.runner.records import Evaluation, Result
from vlbench.tables.markup import file_stem

LINE, BASELINE = "#777777", "#444444"
MARK = 6.5  # points
PANEL = 5.4  # inches
SCALE = {"latency_ms": 1.0, "macs": 1e-9}
AXES = {"latency_ms": "latency, ms", "macs": "GMACs"}
BASELINES = {"majority": ":", "text_only": "--"}


def draw(results: Sequence[Result], evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Writes frontier-TASK-SPLIT.png and .svg for each task and split on which a model has accuracy and latency.

    Returns the files written. Raises OSError if the folder cannot be written.
    """
    drawable = parts(results, evaluations)
    if not drawable:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    measured = comparable(results, evaluations)[0]
    with drawing() as plt:
        for (task, split), part in drawable.items():
            written += save(picture(part, measured, plt), folder, file_stem(f"frontier-{task}-{split}"), plt)
    return written


def picture_of_task(results: Results, plt: Any, task: str | None) -> tuple[Any, list[str]]:
    """The figure of the task and split that most models have, or of `task`; and a remark that names the others.

    Raises InputError if no model has both accuracy and latency, or none has an accuracy on the task.
    """
    cells = [result for folder in results.folders for result in folder.results]
    evaluations = [evaluation for folder in results.folders for evaluation in folder.evaluations]
    drawable = parts(cells, evaluations)
    if not drawable:
        raise InputError("frontier: no model of these results has both accuracy and latency")
    names = {key: "-".join(key) for key in drawable}
    fitting = [key for key in drawable if task in (None, key[0], names[key])]
    if not fitting:
        raise InputError(f"frontier: no model has an accuracy of {task!r}; {nearest(task or '', names.values())}")
    drawn = max(fitting, key=lambda key: len(drawable[key]))
    others = ", ".join(f"frontier:{names[key]}" for key in drawable if key != drawn)
    remarks = [f"frontier of {' '.join(drawn)}; others: {others}"] if others else []
    remarks += [note] if (note := left_out(cells, evaluations)) else []
    return picture(drawable[drawn], comparable(cells, evaluations)[0], plt), remarks


def parts(results: Sequence[Result], evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], pd.DataFrame]:
    """The rows of each task and split, in the order of the evaluations."""
    frame = frontier_frame(results, evaluations)
    if not len(frame):
        return {}
    groups = frame.groupby(["task", "split", "metric"], sort=False)
    return {(str(task), str(split)): part.reset_index(drop=True) for (task, split, _), part in groups}


def picture(frame: pd.DataFrame, measured: Result, plt: Any) -> Any:
    """The figure of one task and split; `measured` is one of its results, which share their machine and settings."""
    costs = {standing: cost for standing, cost in COSTS.items() if frame[cost].notna().any()}
    height = 3.6 + 0.1 * min(len(frame), 20)
    # At the resolution of the file, as only then names are as wide as in it.
    drawn, panels = plt.subplots(
        1, len(costs), figsize=(PANEL * len(costs), height), dpi=DPI, layout="constrained", sharey=True, squeeze=False
    )
    _limit_accuracy(panels[0][0], frame)
    backends = _backends(frame)
    for axes, (standing, cost) in zip(panels[0], costs.items(), strict=True):
        _panel(axes, _points(frame, cost), cost, standing, backends)
    first = frame.iloc[0]
    panels[0][0].set_ylabel(f"{first['metric']}, %")
    settle(drawn, f"{first['metric']}, {first['task']} {first['split']}")
    for axes, (standing, cost) in zip(panels[0], costs.items(), strict=True):
        _name(axes, _points(frame, cost), cost, standing)
    _below(drawn, *_legend(frame, panels[0][0].get_ylim()[0], plt), _foot(frame, measured))
    return drawn


def _points(frame: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The rows with a cost; of those of one model that lie on one point, as backends do over MACs, the first."""
    return frame[frame[cost].notna()].drop_duplicates(["line", cost, "accuracy"])


def _below(picture: Any, handles: Sequence[Any], names: Sequence[str], foot: str) -> None:
    """The legend, and under it the foot."""
    legend = picture.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=picture.transFigure,  # the saved figure has another box
        ncols=len(names) if picture.get_figwidth() > PANEL else 4,
        fontsize=7.5,
        handletextpad=0.5,
        columnspacing=1.4,
    )
    set_foot(picture, foot, legend.get_window_extent().y0 / picture.bbox.height)


def _panel(axes: Any, frame: pd.DataFrame, cost: str, standing: str, backends: Sequence[str]) -> None:
    """Points with both intervals, those of one model joined by a line, baselines as horizontal lines, and the frontier
    as stairs above all other points."""
    for _, points in frame.groupby("line"):
        ordered = points.sort_values(cost)
        colour, _ = family_style(ordered["family"].iloc[0])
        axes.plot(
            ordered[cost] * SCALE[cost], 100 * ordered["accuracy"], color=colour, linewidth=0.8, alpha=0.6, zorder=1
        )
    for row in frame.to_dict("records"):
        colour, marker = _style(row["family"], row["backend"], backends)
        x, y = row[cost] * SCALE[cost], 100 * row["accuracy"]
        for bounds in _bars(row, cost, x, y):
            axes.plot(*bounds, color=colour, linewidth=1.1, alpha=0.75, zorder=2)
        fill = colour if row[standing] == ON else "white"
        axes.plot(x, y, marker, color=colour, markerfacecolor=fill, markersize=MARK, markeredgewidth=1.4, zorder=3)
    axes.set_xscale("log")
    _limit_cost(axes, frame, cost)
    for step in _stairs(frame, cost, standing, axes.get_xlim()[1]):
        axes.plot(*step, color=LINE, linewidth=1, zorder=1)
    for column, value in _baselines(frame).items():
        axes.axhline(100 * value, color=BASELINE, linestyle=BASELINES[column], linewidth=0.9, zorder=0)
    plain_ticks(axes.xaxis)
    axes.set_xlabel(AXES[cost])
    axes.grid(alpha=0.25)


def _style(family: str, backend: str, backends: Sequence[str]) -> tuple[str, str]:
    """The colour of the family, and its marker, or that of the backend if there are several."""
    colour, marker = family_style(family)
    return colour, MARKERS[backends.index(backend) % len(MARKERS)] if backends else marker


def _backends(frame: pd.DataFrame) -> list[str]:
    """In the order of BACKENDS; none if there is only one."""
    names = set(frame["backend"])
    return [name for name in BACKENDS if name in names] if len(names) > 1 else []


def _bars(row: Any, cost: str, x: float, y: float) -> list[Line]:
    """The lines of both intervals."""
    of_cost, of_accuracy = interval(row, cost), interval(row, "accuracy")
    lines: list[Line] = [((of_cost[0] * SCALE[cost], of_cost[1] * SCALE[cost]), (y, y))] if of_cost else []
    return [*lines, ((x, x), (100 * of_accuracy[0], 100 * of_accuracy[1]))] if of_accuracy else lines


def _stairs(frame: pd.DataFrame, cost: str, standing: str, right: float) -> list[Line]:
    """From the cheapest model on the frontier to the most expensive, and on to the right border."""
    on = frame[frame[standing] == ON].sort_values([cost, "accuracy"])
    corners = list(zip(on[cost] * SCALE[cost], 100 * on["accuracy"], strict=True))
    lines: list[Line] = []
    for (x, y), (to_x, to_y) in zip(corners, [*corners[1:], (right, corners[-1][1])], strict=True):
        lines += [((x, to_x), (y, y)), ((to_x, to_x), (y, to_y))]
    return lines


def _limit_cost(axes: Any, frame: pd.DataFrame, cost: str) -> None:
    """Leaves room for names, also around a single model."""
    costs = [bound * SCALE[cost] for bound in _bounds(frame, cost)]
    spread = max(costs) / min(costs)
    room = max(spread**0.25, (12 / spread) ** 0.5)
    axes.set_xlim(min(costs) / room, max(costs) * room)


def _limit_accuracy(axes: Any, frame: pd.DataFrame) -> None:
    """Shows the baselines only if they are so near that the models can still be distinguished."""
    shares = _bounds(frame, "accuracy")
    high, height = max(shares), max(max(shares) - min(shares), 0.04)
    low = min([min(shares), *(value for value in _baselines(frame).values() if value > min(shares) - 0.75 * height)])
    axes.set_ylim(100 * max(low - 0.2 * height, -0.01), 100 * min(high + 0.2 * height, 1.02))


def _bounds(frame: pd.DataFrame, name: str) -> list[float]:
    """All values of a column, and the ends of their intervals."""
    return [bound for row in frame.to_dict("records") for bound in (row[name], *(interval(row, name) or ()))]


def _baselines(frame: pd.DataFrame) -> dict[str, float]:
    """Blind baselines that are the same for all models, as they are if all were evaluated on the same items."""
    same = [column for column in BASELINES if frame[column].notna().all() and frame[column].nunique() == 1]
    return {column: float(frame[column].iloc[0]) for column in same}


def _name(axes: Any, frame: pd.DataFrame, cost: str, standing: str) -> None:
    rows = frame.to_dict("records")
    points = [(row[cost] * SCALE[cost], 100 * row["accuracy"]) for row in rows]
    lines = [line for row, at in zip(rows, points, strict=True) for line in _bars(row, cost, *at)]
    lines += _stairs(frame, cost, standing, axes.get_xlim()[1])
    lines += [(axes.get_xlim(), (100 * value, 100 * value)) for value in _baselines(frame).values()]
    place_labels(axes, points, _short_labels(rows), mark=MARK, lines=lines, fontsize=7.5, color="#222222")


def _short_labels(rows: Sequence[dict[Any, Any]]) -> list[str]:
    """The model's name alone at eager PyTorch in fp32; at its other points how it was executed, if it has that one."""
    references = [is_reference(row["backend"], row["precision"]) for row in rows]
    with_reference = {row["line"] for row, is_it in zip(rows, references, strict=True) if is_it}
    return [
        row["label"] if row["line"] not in with_reference else row["model_label" if is_it else "executed_label"]
        for row, is_it in zip(rows, references, strict=True)
    ]


def _legend(frame: pd.DataFrame, lowest: float, plt: Any) -> tuple[list[Any], list[str]]:
    def mark(colour: str, marker: str, **style: Any) -> Any:
        return plt.Line2D(
            [], [], color=colour, marker=marker, linestyle="", markersize=MARK, markeredgewidth=1.4, **style
        )

    backends, families = _backends(frame), families_of(frame["family"])
    entries = [(mark(*_style(family, "".join(backends[:1]), backends)), family) for family in families]
    entries += [(mark(LINE, _style("", backend, backends)[1]), backend) for backend in backends]
    entries.append((plt.Line2D([], [], color=LINE, linewidth=1), "frontier"))
    if (frame[list(COSTS)].notna() & (frame[list(COSTS)] != ON)).any(axis=None):
        entries.append((mark(LINE, "o", markerfacecolor="white"), "beaten on both"))
    chance = "majority answer" if frame["metric"].iloc[0] == "accuracy" else "chance"
    for column, value in _baselines(frame).items():
        line = plt.Line2D([], [], color=BASELINE, linestyle=BASELINES[column], linewidth=0.9)
        words = f"{chance if column == 'majority' else 'text only'} {100 * value:.1f}%"
        entries.append((line, words if 100 * value >= lowest else f"{words} (lies below)"))
    return [handle for handle, _ in entries], [label for _, label in entries]


def _foot(frame: pd.DataFrame, measured: Result) -> str:
    """The number of items, the kinds of intervals, the settings and the machine."""
    counts, seeds = sorted(set(frame["n"])), sorted(set(frame["seeds"]))
    things = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    spans = "95%" if seeds[0] == 1 else f"standard deviation of {' to '.join(map(str, seeds))} seeds"
    if len(seeds) > 1 and seeds[0] == 1:
        spans = f"95%, or standard deviation of up to {seeds[-1]} seeds"
    precisions = " and ".join(dict.fromkeys(frame["precision"]))
    batch = f"batch {measured.batch}" if measured.batch > 1 else "one example a pass"
    return (
        f"n = {things}. Intervals: accuracy {spans}; latency 95% of the median. {measured.device}, "
        f"{precisions}, {batch}. {measured.machine.in_words()}"
    )

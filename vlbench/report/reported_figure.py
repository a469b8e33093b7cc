"""Measured next to reported values: one row per quantity, one dot per model, errata numbered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from vlbench.errors import InputError
from vlbench.report.colours import families_of, family_style
from vlbench.report.frames import Results
from vlbench.report.labels import Line, place_labels
from vlbench.report.paper import DPI, PLATE, TALLEST, plain_number, set_foot, set_legend, settle
from vlbench.specs.catalog import catalog
from vlbench.suites.outcomes import CONTENDED

MARK = 5.0  # points
LEAST, DOT, ROOM = 0.36, 0.11, 0.2  # inches: the least height of a row, of a dot, and free space in a row
BAND = "#E8EAED"
TIMED, COUNTED = "timed", "counted"
XLABELS = {
    COUNTED: "counted here against reported, difference in %",
    TIMED: "timed here over reported; the papers' machines are others",
}
RELATIVE = 0.3  # if counts differ by more, their axis shows ratios, as that of latencies does


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError if no measured value is also reported."""
    rows = _rows(results) if len(results.reported) else results.reported
    if not len(rows):
        raise InputError(
            "reported: these results have no value that a paper also reports; vlbench reproduce writes some"
        )
    kinds = [kind for kind in (COUNTED, TIMED) if kind in set(rows["kind"])]
    heights = [_levels(rows[rows["kind"] == kind])[1] for kind in kinds]
    drawn, panels = plt.subplots(
        *(len(kinds), 1),
        figsize=(9.0, min(0.5 + sum(height + 0.6 for height in heights), TALLEST)),
        dpi=DPI,
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    errata = list(dict.fromkeys(rows["erratum"].dropna()))
    parts = [(axes, rows[rows["kind"] == kind]) for axes, kind in zip(panels[:, 0], kinds, strict=True)]
    points = [_panel(axes, part, kind) for (axes, part), kind in zip(parts, kinds, strict=True)]
    settle(drawn, "Measured against reported")
    for (axes, part), of_panel in zip(parts, points, strict=True):
        _name(axes, part, of_panel, errata)
    end = set_legend(drawn, [("", _legend(rows, plt))], plt)
    notes = [f"[{number}] {text}" for number, text in enumerate(errata, start=1)]
    set_foot(drawn, "\n".join([*notes, *_machines(results, rows)]), end)
    return drawn


def _rows(results: Results) -> pd.DataFrame:
    """The rows with both values, and with `name` of the quantity, `ratio`, `kind` and `family`."""
    rows = results.reported
    rows = rows[rows["measured"].notna() & rows["reported"].notna()]
    rows = rows[(rows["measured"] > 0) & (rows["reported"] > 0)].reset_index(drop=True)
    several = rows["folder"].nunique() > 1
    names = rows["suite"].astype(str) + ", " + rows["quantity"].astype(str).str.replace("_", " ")
    rows["name"] = names + " · " + rows["folder"] if several else names
    rows["ratio"] = (rows["measured"] / rows["reported"]).astype(float)
    rows["kind"] = [TIMED if category == "latency" else COUNTED for category in rows["category"]]
    families = {result.model: result.family for *_, result in results.named}
    families |= {spec.name: spec.family for spec in catalog().values()}
    rows["family"] = [families.get(model, "other") for model in rows["model"]]
    return rows


def _levels(rows: pd.DataFrame) -> tuple[dict[str, tuple[float, float]], float]:
    """Where each quantity's row starts and ends, in inches from the top; and where the last row ends."""
    levels, end = {}, 0.0
    for name, group in rows.groupby("name", sort=False):
        start, end = end, end + max(LEAST, ROOM + DOT * len(group))
        levels[str(name)] = (start, end)
    return levels, end


def _panel(axes: Any, rows: pd.DataFrame, kind: str) -> list[tuple[float, float]]:
    """Draws the rows, and returns the position of each row's dot."""
    ratios = kind == TIMED or (rows["ratio"] - 1).abs().max() > RELATIVE
    levels, bottom = _levels(rows)
    if ratios:
        axes.set_xscale("log")
    axes.axvline(1 if ratios else 0, color="#444444", linewidth=0.9, zorder=1)
    points: dict[Any, tuple[float, float]] = {}
    for name, (start, end) in levels.items():
        group = rows[rows["name"] == name]
        if group["tolerance"].notna().any():
            _draw_tolerance(axes, (start, end), _tolerance(group), ratios=ratios)
        axes.axhline(start, color="#DDDDDD", linewidth=0.6, zorder=0)
        first = (start + end - DOT * (len(group) - 1)) / 2
        for number, (index, row) in enumerate(group.iterrows()):
            points[index] = (row["ratio"] if ratios else 100 * (row["ratio"] - 1), first + DOT * number)
            colour, marker = family_style(row["family"])
            fill = "white" if isinstance(row["erratum"], str) else colour
            axes.plot(*points[index], marker, color=colour, markerfacecolor=fill, markersize=MARK, zorder=3)
    axes.set_yticks([(start + end) / 2 for start, end in levels.values()], list(levels))
    axes.set_ylim(bottom, 0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(XLABELS[kind].replace("difference in %", "ratio") if ratios else XLABELS[kind])
    ordered = [points[index] for index in rows.index]
    _limit(axes, ordered, ratios=ratios)
    axes.grid(axis="x", alpha=0.25)
    return ordered


def _tolerance(group: pd.DataFrame) -> float:
    """The most frequent tolerance of a quantity's values."""
    return float(group["tolerance"].dropna().mode().iloc[0])


def _limit(axes: Any, points: Sequence[tuple[float, float]], *, ratios: bool) -> None:
    """Leaves room for names on both sides of all dots."""
    xs = [x for x, _ in points]
    if ratios:
        low, high = min(*xs, 1), max(*xs, 1)
        room = max(high / low, 2) ** 0.12
        axes.set_xlim(low / room, high * room)
        ticks = [
            tick for tick in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if low / room <= tick <= high * room
        ]
        axes.set_xticks(ticks, [plain_number(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        reach = max([abs(x) for x in xs] + [0.1])
        axes.set_xlim(-1.25 * reach, 1.25 * reach)


def _draw_tolerance(axes: Any, row: tuple[float, float], tolerance: float, *, ratios: bool) -> None:
    """The band in which a count agrees with the reported one."""
    ends = (1 - tolerance, 1 + tolerance) if ratios else (-100 * tolerance, 100 * tolerance)
    axes.fill_between(ends, row[0] + 0.03, row[1] - 0.03, color=BAND, linewidth=0, zorder=0)


def _name(axes: Any, rows: pd.DataFrame, points: list[tuple[float, float]], errata: list[str]) -> None:
    """Names the dots of models whose count is outside its tolerance, that have an erratum, or that were timed."""
    tolerances = {name: _tolerance(group) for name, group in rows.groupby("name") if group["tolerance"].notna().any()}
    labels: list[tuple[tuple[float, float], str]] = []
    for point, row in zip(points, rows.to_dict("records"), strict=True):
        number = f" [{errata.index(row['erratum']) + 1}]" if isinstance(row["erratum"], str) else ""
        is_outside = abs(row["ratio"] - 1) > tolerances.get(row["name"], 0)
        if number or is_outside or row["kind"] == TIMED:
            mark = CONTENDED if isinstance(row["reason"], str) else ""
            labels.append((point, f"{row['row']}{number}{mark}"))
    dots = [((x, x), (y - 0.02, y + 0.02)) for x, y in points]
    alike = 1 if axes.get_xscale() == "log" else 0
    lines: list[Line] = [*dots, ((alike, alike), axes.get_ylim())]
    style = {"fontsize": 6.5, "color": "#222222", "bbox": PLATE}
    place_labels(axes, [at for at, _ in labels], [words for _, words in labels], mark=MARK, lines=lines, **style)


def _legend(rows: pd.DataFrame, plt: Any) -> list[tuple[Any, str]]:
    def mark(colour: str, marker: str, **style: Any) -> Any:
        return plt.Line2D([], [], color=colour, marker=marker, linestyle="", markersize=MARK, **style)

    entries = [(mark(*family_style(family)), family) for family in families_of(rows["family"])]
    if rows["erratum"].notna().any():
        entries.append((mark("#777777", "o", markerfacecolor="white"), "[n]: an erratum"))
    if rows["tolerance"].notna().any():
        entries.append((plt.Rectangle((0, 0), 1, 1, color=BAND), "allowed"))
    return entries


def _machines(results: Results, rows: pd.DataFrame) -> list[str]:
    """The machines of the folders whose latencies are drawn, one line each."""
    timed = set(rows.loc[rows["kind"] == TIMED, "folder"])
    by_machine: dict[str, list[str]] = {}
    for folder in results.folders:
        if folder.reproduced and folder.reproduced.machine and folder.label in timed:
            by_machine.setdefault(folder.reproduced.machine.in_words(), []).append(folder.label)
    return [f"{', '.join(labels)}: {words}" if len(by_machine) > 1 else words for words, labels in by_machine.items()]

"""What was measured beside what papers report: a row a quantity, a dot a model, errata numbered."""

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

MARK = 5.0  # points
LEAST, DOT, ROOM = 0.36, 0.11, 0.2  # inches: a row, a dot of it, and what is free above and below them
BAND = "#E8EAED"
TIMED, COUNTED = "timed", "counted"
XLABELS = {
    COUNTED: "counted here against reported, difference in %",
    TIMED: "timed here over reported; the papers' machines are others",
}
RELATIVE = 0.3  # differences of counts beyond which their axis is of ratios, too


def picture(results: Results, plt: Any) -> Any:
    """Raises InputError where nothing that was measured has been reported."""
    rows = _rows(results) if len(results.reported) else results.reported
    if not len(rows):
        raise InputError("reported: these results hold no figure beside a paper's; vlbench reproduce writes some")
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
    found = [_panel(axes, part, kind) for (axes, part), kind in zip(parts, kinds, strict=True)]
    settle(drawn, "Measured against reported")
    for (axes, part), points in zip(parts, found, strict=True):
        _name(axes, part, points, errata)
    end = set_legend(drawn, [("", _legend(rows, plt))], plt)
    notes = [f"[{number}] {text}" for number, text in enumerate(errata, start=1)]
    set_foot(drawn, "\n".join([*notes, *_machines(results, rows)]), end)
    return drawn


def _rows(results: Results) -> pd.DataFrame:
    """Those that have both figures: with `name` of the quantity, `ratio`, `kind` and `family`."""
    rows = results.reported
    rows = rows[rows["measured"].notna() & rows["reported"].notna()]
    rows = rows[(rows["measured"] > 0) & (rows["reported"] > 0)].reset_index(drop=True)
    several = rows["folder"].nunique() > 1
    said = rows["suite"].astype(str) + ", " + rows["quantity"].astype(str).str.replace("_", " ")
    rows["name"] = said + " · " + rows["folder"] if several else said
    rows["ratio"] = (rows["measured"] / rows["reported"]).astype(float)
    rows["kind"] = [TIMED if one == "latency" else COUNTED for one in rows["category"]]
    families = {one.model: one.family for *_, one in results.named} | {
        one.name: one.family for one in catalog().values()
    }
    rows["family"] = [families.get(one, "other") for one in rows["model"]]
    return rows


def _levels(rows: pd.DataFrame) -> tuple[dict[str, tuple[float, float]], float]:
    """Where each quantity's row starts and ends, in inches from the top, and where the last one does."""
    levels, end = {}, 0.0
    for name, own in rows.groupby("name", sort=False):
        start, end = end, end + max(LEAST, ROOM + DOT * len(own))
        levels[str(name)] = (start, end)
    return levels, end


def _panel(axes: Any, rows: pd.DataFrame, kind: str) -> list[tuple[float, float]]:
    """Gives where each row's dot lies."""
    ratios = kind == TIMED or (rows["ratio"] - 1).abs().max() > RELATIVE
    levels, bottom = _levels(rows)
    if ratios:
        axes.set_xscale("log")
    axes.axvline(1 if ratios else 0, color="#444444", linewidth=0.9, zorder=1)
    points: dict[Any, tuple[float, float]] = {}
    for name, (start, end) in levels.items():
        own = rows[rows["name"] == name]
        if own["tolerance"].notna().any():
            _allow(axes, (start, end), _allowed(own), ratios=ratios)
        axes.axhline(start, color="#DDDDDD", linewidth=0.6, zorder=0)
        first = (start + end - DOT * (len(own) - 1)) / 2
        for number, (index, one) in enumerate(own.iterrows()):
            points[index] = (one["ratio"] if ratios else 100 * (one["ratio"] - 1), first + DOT * number)
            colour, marker = family_style(one["family"])
            fill = "white" if isinstance(one["erratum"], str) else colour
            axes.plot(*points[index], marker, color=colour, markerfacecolor=fill, markersize=MARK, zorder=3)
    axes.set_yticks([(start + end) / 2 for start, end in levels.values()], list(levels))
    axes.set_ylim(bottom, 0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(XLABELS[kind].replace("difference in %", "ratio") if ratios else XLABELS[kind])
    found = [points[index] for index in rows.index]
    _limit(axes, found, ratios=ratios)
    axes.grid(axis="x", alpha=0.25)
    return found


def _allowed(own: pd.DataFrame) -> float:
    """What most of a quantity's figures may be off."""
    return float(own["tolerance"].dropna().mode().iloc[0])


def _limit(axes: Any, points: Sequence[tuple[float, float]], *, ratios: bool) -> None:
    """With room for names on both sides of all dots."""
    places = [x for x, _ in points]
    if ratios:
        low, high = min(*places, 1), max(*places, 1)
        room = max(high / low, 2) ** 0.12
        axes.set_xlim(low / room, high * room)
        ticks = [
            tick for tick in (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if low / room <= tick <= high * room
        ]
        axes.set_xticks(ticks, [plain_number(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
    else:
        reach = max([abs(place) for place in places] + [0.1])
        axes.set_xlim(-1.25 * reach, 1.25 * reach)


def _allow(axes: Any, row: tuple[float, float], tolerance: float, *, ratios: bool) -> None:
    """The band within which a count is as reported."""
    ends = (1 - tolerance, 1 + tolerance) if ratios else (-100 * tolerance, 100 * tolerance)
    axes.fill_between(ends, row[0] + 0.03, row[1] - 0.03, color=BAND, linewidth=0, zorder=0)


def _name(axes: Any, rows: pd.DataFrame, points: list[tuple[float, float]], errata: list[str]) -> None:
    """Models whose count is off by more than most may be, that have an erratum, or that were timed."""
    usual = {name: _allowed(own) for name, own in rows.groupby("name") if own["tolerance"].notna().any()}
    told: list[tuple[tuple[float, float], str]] = []
    for point, one in zip(points, rows.to_dict("records"), strict=True):
        number = f" [{errata.index(one['erratum']) + 1}]" if isinstance(one["erratum"], str) else ""
        off = abs(one["ratio"] - 1) > usual.get(one["name"], 0)
        if number or off or one["kind"] == TIMED:
            told.append((point, f"{one['row']}{number}"))
    dots = [((x, x), (y - 0.02, y + 0.02)) for x, y in points]
    alike = 1 if axes.get_xscale() == "log" else 0
    lines: list[Line] = [*dots, ((alike, alike), axes.get_ylim())]
    style = {"fontsize": 6.5, "color": "#222222", "bbox": PLATE}
    place_labels(axes, [at for at, _ in told], [words for _, words in told], mark=MARK, lines=lines, **style)


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
    """Of the folders whose latencies are drawn."""
    timed = set(rows.loc[rows["kind"] == TIMED, "folder"])
    found: dict[str, list[str]] = {}
    for folder in results.folders:
        if folder.reproduced and folder.reproduced.machine and folder.label in timed:
            found.setdefault(folder.reproduced.machine.in_words(), []).append(folder.label)
    return [f"{', '.join(labels)}: {words}" if len(found) > 1 else words for words, labels in found.items()]

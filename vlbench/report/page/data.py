"""The rows behind the page's charts, from the views that figures share, with the words that tooltips show."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from vlbench.regression.compare.verdicts import change
from vlbench.report.colours import ink_on, stage_colour
from vlbench.report.frames import Results
from vlbench.report.frontier import ON, frontier_frame
from vlbench.report.page.beside import Beside
from vlbench.report.tables import billions
from vlbench.report.views import LEAST_SHARE, ROOF, roofline, scaling, stage_bars
from vlbench.tables.numbers import bracketed, percent, short_number

Row = dict[str, Any]
AXES = {"batch": "examples a pass", "image pixels": "image pixels", "tokens": "tokens, text + image"}


def stage_rows(results: Results) -> list[Row]:
    """In the order of the cells; `cell` is the number of the row in the page's table."""
    frame = stage_bars(results)
    numbers = {(folder, name): number for number, (folder, name, _) in enumerate(results.named)}
    rows: list[Row] = []
    for (folder, cell), part in frame.groupby(["folder", "cell"], sort=False):
        total = float(part["end_ms"].max())
        for place, one in enumerate(part.to_dict("records")):
            rows.append(_segment(one, total) | {"cell": numbers[str(folder), str(cell)], "first": place == 0})
    return rows


def _segment(one: dict[Hashable, Any], total: float) -> Row:
    colour = stage_colour(one["family"], one["stage"])
    start, end = one["start_ms"], one["end_ms"]
    return {
        **{"key": f"{one['folder']}\n{one['cell']}", "label": one["label"], "family": one["family"]},
        **{"stage": one["stage"], "short": one["stage"].removeprefix("visual."), "colour": colour},
        "on": ink_on(colour),
        **{"start_ms": start, "end_ms": end, "middle_ms": (start + end) / 2},
        **{"start": 100 * start / total, "end": 100 * end / total, "middle": 50 * (start + end) / total},
        **{"ms": short_number(one["latency_ms"]), "percent": f"{100 * (end - start) / total:.1f}%"},
        "total": f"{short_number(total)} ms",
    }


def frontier_rows(results: Results) -> dict[tuple[str, str, str], list[Row]]:
    """By task, split and metric."""
    evaluations = [one for folder in results.folders for one in folder.evaluations]
    frame = frontier_frame([one for *_, one in results.named], evaluations)
    if not len(frame):
        return {}
    return {
        (str(task), str(split), str(metric)): [_point(one) for one in part.to_dict("records")]
        for (task, split, metric), part in frame.groupby(["task", "split", "metric"], sort=False)
    }


def _point(one: dict[Hashable, Any]) -> Row:
    macs = _known(one["macs"])
    percents = {name: 100 * value if value is not None else None for name, value in _bounds(one, "accuracy").items()}
    number, _, interval = bracketed(one["accuracy"], list(_bounds(one, "accuracy").values()), percent).partition(" ")
    low, high = _bounds(one, "latency_ms").values()
    return {
        **{"label": one["label"], "family": one["family"], "accuracy": 100 * one["accuracy"], **percents},
        **{"latency_ms": one["latency_ms"], "latency_ms_low": low, "latency_ms_high": high},
        **{"gmacs": macs / 1e9 if macs else None, "gmacs_low": None, "gmacs_high": None},
        **{"on": one["frontier"] == ON, "on_macs": one["frontier_macs"] == ON, "standing": one["frontier"]},
        **{"accuracy_text": f"{number}% {interval}".strip(), "macs_text": f"{billions(macs)} G" if macs else ""},
        "latency_text": _milliseconds(one["latency_ms"], low, high),
    }


def stairs(rows: Sequence[Row], cost: str) -> list[Row]:
    """The corners of the frontier, and its way to the dearest model."""
    on = sorted((one for one in rows if one["on" if cost == "latency_ms" else "on_macs"]), key=lambda one: one[cost])
    corners = [{"x": one[cost], "y": one["accuracy"]} for one in on]
    dearest = max((one[cost] for one in rows if one[cost]), default=None)
    return [*corners, {"x": dearest, "y": corners[-1]["y"]}] if corners and dearest else corners


def scaling_rows(results: Results) -> dict[str, list[Row]]:
    """By what is varied."""
    frame = scaling(results)
    found: dict[str, list[Row]] = {}
    for (axis, _), part in frame.groupby(["axis", "line"], sort=False) if len(frame) else ():
        ordered = part.sort_values("x").to_dict("records")
        for one in ordered:
            low, high = _known(one["low"]), _known(one["high"])
            row = {name: one[name] for name in ("line", "family", "x", "latency_ms")}
            row |= {"low": low, "high": high, "last": one is ordered[-1], "x_text": f"{one['x']:,.0f}"}
            row |= {"latency_text": _milliseconds(one["latency_ms"], low, high)}
            row |= {"each_text": f"{short_number(one['per_example_ms'])} ms"}
            found.setdefault(str(axis), []).append(row)
    return found


def roofline_rows(results: Results) -> tuple[list[Row], list[Row]]:
    """Points, and the corners of each roof: up its slope to the ridge, and level from there."""
    points, roofs = roofline(results)
    if not len(points):
        return [], []
    ceiling = {tuple(one[name] for name in ROOF): one for one in roofs.to_dict("records")}
    shown = points[points["share"] >= LEAST_SHARE]
    rows = [_measured(one, ceiling) for one in shown.to_dict("records")]
    least, most = (f(one["intensity"] for one in rows) for f in (min, max))
    corners: list[Row] = []
    for one in roofs.to_dict("records"):
        slope, peak = one["gigabytes_per_second"], one["peak_gflops"]
        ends = [min(least, one["ridge"] / 2), one["ridge"], max(most, 2 * one["ridge"])]
        said = f"{one['label']}: {peak:,.0f} GFLOP/s, {slope:,.0f} GB/s"
        corners += [{"roof": said, "intensity": x, "gflops": min(peak, slope * x), "last": x == ends[-1]} for x in ends]
    return rows, corners


def _measured(one: dict[Hashable, Any], roofs: dict[tuple, dict[Hashable, Any]]) -> Row:
    roof = roofs.get(tuple(one[name] for name in ROOF))
    achieved, intensity = one["gflops_per_second"], one["intensity"]
    limit = min(roof["peak_gflops"], intensity * roof["gigabytes_per_second"]) if roof else None
    return {
        **{"label": one["label"], "family": one["family"], "stage": one["stage"]},
        **{"intensity": intensity, "gflops": achieved},
        **{"intensity_text": f"{intensity:,.3g} FLOP a byte", "gflops_text": f"{achieved:,.3g} GFLOP/s"},
        "of_roof": f"{achieved / limit:.0%}" if limit else "not measured",
    }


def beside_rows(found: Sequence[Beside], families: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    for other in found:
        for cell in other.cells:
            if cell.effect is None:
                continue
            effect = cell.effect
            label = f"{cell.cell} \u00b7 {other.head}" if len(found) > 1 else cell.cell
            rows.append(
                {
                    **{
                        "key": f"{other.head}\n{cell.cell}",
                        "label": label,
                        "head": other.head,
                        "family": families[cell.model],
                    },
                    **{"ratio": effect.ratio, "low": effect.low, "high": effect.high, "verdict": cell.verdict},
                    "text": f"{effect.ratio:.3g} times, {cell.verdict}" if cell.verdict != "unknown" else _times(cell),
                }
            )
    return rows


def _times(cell: Any) -> str:
    return f"{change(cell.effect.ratio)}, unknown" if 0.5 < cell.effect.ratio < 2 else f"{cell.effect.ratio:.3g} times"


def _bounds(one: dict[Hashable, Any], name: str) -> dict[str, float | None]:
    return {end: _known(one.get(f"{name}_{end}")) for end in ("low", "high")}


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) or not math.isfinite(value) else float(value)


def _milliseconds(value: float, low: float | None, high: float | None) -> str:
    number, _, interval = bracketed(value, (low, high)).partition(" ")
    return f"{number} ms {interval}".strip()

"""The page's section on the roofline: achieved GFLOP/s over arithmetic intensity, below what the machine reaches."""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Any

import altair as alt

from vlbench.report.frames import Results
from vlbench.report.page import vega
from vlbench.report.page.sections import Chart, Rows, Section
from vlbench.report.page.vega import scale_and_axis
from vlbench.report.views import LEAST_SHARE, ROOF, notes_above_roofs, roofline
from vlbench.tables.table import Table, TableColumn

TEXT = (
    "How much a model computes for each byte that its operators read and write, and how fast it does: a full mark is a "
    "pass, a small one a stage of it."
)
PEAKS = (
    "A line is what the machine itself reached just after: moving memory (the slope), and the fastest of matrix "
    "products, linear layers, convolutions and attention (level). MFU is the share of that level that is achieved."
)
NO_PEAKS = "These results hold no peaks of the machine; vlbench run measures them."


def section(results: Results) -> Section | None:
    points, roofs, notes = _rows(results)
    if not points:
        return None
    passes = sum(point["stage"] == "pass" for point in points)
    text = f"Achieved GFLOP/s over arithmetic intensity of {passes} measurements and their stages."
    data = {"points": points, "roofs": roofs}
    chart = Chart(name="roofline", alt_text=text, specs={"": _spec(points, roofs)}, data=data)
    sentences = [TEXT, PEAKS if len(results.peaks) else NO_PEAKS, *notes]
    return Section("roofline", "Roofline", " ".join(sentences), (chart,), families=True, tables=(_table(points),))


def _rows(results: Results) -> tuple[Rows, Rows, list[str]]:
    """Points, the corners of each roof (up its slope to the ridge, and level from there), and notes."""
    points, roofs = roofline(results)
    points = points[points["share"] >= LEAST_SHARE]
    if not len(points):
        return [], [], []
    roof_by_settings = {tuple(roof[name] for name in ROOF): roof for roof in roofs.to_dict("records")}
    rows = [
        _point(point, roof_by_settings.get(tuple(point[name] for name in ROOF))) for point in points.to_dict("records")
    ]
    least, most = (extreme(row["intensity"] for row in rows) for extreme in (min, max))
    corners: Rows = []
    for roof in roofs.to_dict("records"):
        slope, peak = roof["gigabytes_per_second"], roof["peak_gflops"]
        label = f"{roof['label']}: {peak:,.0f} GFLOP/s, {slope:,.0f} GB/s"
        across = [min(least, roof["ridge"] / 2), roof["ridge"], max(most, 2 * roof["ridge"])]
        corners += [
            {"roof": label, "intensity": x, "gflops": min(peak, slope * x), "last": x == across[-1]} for x in across
        ]
    return rows, corners, notes_above_roofs(points, roofs)


def _point(row: dict[Hashable, Any], roof: dict[Hashable, Any] | None) -> dict[str, Any]:
    achieved, intensity = row["gflops_per_second"], row["intensity"]
    limit = min(roof["peak_gflops"], intensity * roof["gigabytes_per_second"]) if roof else None
    return {
        **{"label": row["label"], "family": row["family"], "stage": row["stage"]},
        **{"intensity": intensity, "gflops": achieved},
        **{"intensity_text": f"{intensity:,.3g} FLOP a byte", "gflops_text": f"{achieved:,.3g} GFLOP/s"},
        "of_roof": f"{achieved / limit:.0%}" if limit else "not measured",
        "mfu": f"{row['mfu']:.0%}" if limit else "not measured",
    }


def _spec(points: Rows, corners: Rows) -> dict[str, Any]:
    """Of the datasets `points`, one row per pass or stage, and `roofs`, the corners of each machine's roof."""
    roofs, marks_of = alt.Chart(alt.NamedData("roofs")), alt.Chart(alt.NamedData("points"))
    rows = [*points, *corners]
    intensity = scale_and_axis(row["intensity"] for row in rows)
    x = alt.X("intensity:Q", title="arithmetic intensity, FLOP a byte", **intensity)
    y = alt.Y("gflops:Q", title="GFLOP/s", **scale_and_axis(row["gflops"] for row in rows))
    lines = roofs.mark_line(color=vega.MUTED, strokeWidth=1.5).encode(x=x, y=y, detail="roof:N")
    named = roofs.transform_filter("datum.last").mark_text(align="right", dy=-9, color=vega.MUTED, fontSize=11)
    fields = {"intensity_text": "intensity", "gflops_text": "achieved", "mfu": "MFU", "of_roof": "of the roof"}
    tips = [vega.tip("label:N", "measurement"), "stage:N", *(vega.tip(f"{key}:N", fields[key]) for key in fields)]
    small = marks_of.transform_filter("datum.stage != 'pass'").mark_point(size=28, opacity=0.55, strokeWidth=1.2)
    large = marks_of.transform_filter("datum.stage == 'pass'").mark_point(size=110, filled=True, opacity=1)
    small, large = (mark.encode(x=x, y=y, color=vega.COLOUR, shape=vega.SHAPE, tooltip=tips) for mark in (small, large))
    names = named.encode(x=x, y=y, text="roof:N")
    return vega.finished(vega.layered(lines, names, small, large.properties(name=vega.NAMED)))


def _table(points: Rows) -> Table:
    numbers = {"intensity": "intensity_text", "achieved": "gflops_text", "MFU": "mfu", "of the roof": "of_roof"}
    columns = [TableColumn[Any]("measurement", itemgetter("label")), TableColumn[Any]("stage", itemgetter("stage"))]
    columns += [TableColumn(heading, itemgetter(key), str) for heading, key in numbers.items()]
    return Table.of(columns, points, caption="Roofline")

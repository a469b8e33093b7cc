"""The page's section on scaling: latency over the batch, the image's pixels and the tokens."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import altair as alt

from vlbench.report.frames import Results
from vlbench.report.page import vega
from vlbench.report.page.sections import Chart, Rows, Section
from vlbench.report.page.vega import scale_and_axis
from vlbench.report.views import scaling
from vlbench.tables.numbers import short_number
from vlbench.tables.table import Table, TableColumn

AXES = {"batch": "examples a pass", "image pixels": "image pixels", "tokens": "tokens, text + image"}
FEW = 9  # values along an axis that each have a tick
TEXT = "Measurements that are alike in all but one setting. Both axes are logarithmic; the shade is the 95% interval."


def section(results: Results) -> Section | None:
    rows_by_axis = _rows(results)
    if not rows_by_axis:
        return None
    charts = tuple(_chart(number, axis, rows) for number, (axis, rows) in enumerate(rows_by_axis.items()))
    tables = tuple(_table(axis, rows) for axis, rows in rows_by_axis.items())
    return Section("scaling", "Scaling", TEXT, charts, tables=tables)


def _chart(number: int, axis: str, rows: Rows) -> Chart:
    lines = len({row["line"] for row in rows})
    text = f"Latency over {AXES[axis]}, {lines} lines, both axes logarithmic."
    return Chart(name=f"scaling-{number}", alt_text=text, specs={"": _spec(rows, axis)}, data={"scaling": rows})


def _rows(results: Results) -> dict[str, Rows]:
    """By what is varied."""
    frame = scaling(results)
    by_axis: dict[str, Rows] = {}
    for (axis, _), part in frame.groupby(["axis", "line"], sort=False) if len(frame) else ():
        ordered = part.sort_values("x").to_dict("records")
        for point in ordered:
            low, high = vega.known(point["low"]), vega.known(point["high"])
            row = {name: point[name] for name in ("line", "family", "x", "latency_ms")}
            row |= {"low": low, "high": high, "last": point is ordered[-1], "x_text": f"{point['x']:,.0f}"}
            row |= {"latency_text": vega.milliseconds(point["latency_ms"], low, high)}
            row |= {"each_text": f"{short_number(point['per_example_ms'])} ms"}
            by_axis.setdefault(str(axis), []).append(row)
    return by_axis


def _spec(rows: Rows, axis: str) -> dict[str, Any]:
    """Of the dataset `scaling`, one row per point; `line` says which belong together."""
    base = alt.Chart(alt.NamedData("scaling"))
    values = sorted({row["x"] for row in rows})
    x = alt.X("x:Q", title=AXES[axis], **scale_and_axis(values, at=values if len(values) <= FEW else ()))
    times = [row[name] for row in rows for name in ("latency_ms", "low", "high")]
    y = alt.Y("latency_ms:Q", title="latency, ms", **scale_and_axis(times))
    band = base.mark_area(opacity=0.18).encode(x=x, y=alt.Y("low:Q", title="latency, ms"), y2="high:Q")
    band = band.encode(color=vega.COLOUR, detail=alt.Detail("line:N"))
    line = base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=vega.COLOUR, detail=alt.Detail("line:N"))
    fields = {"line": "measurements", "x_text": axis, "latency_text": "latency", "each_text": "an example"}
    tips = [vega.tip(f"{key}:N", title) for key, title in fields.items()]
    points = base.mark_point(size=50, filled=True, opacity=1)
    points = points.encode(x=x, y=y, color=vega.COLOUR, shape=vega.SHAPE, tooltip=tips)
    names = base.transform_filter("datum.last").mark_text(align="right", dy=-10, color=vega.INK, fontSize=12)
    return vega.finished(vega.layered(band, line, points, names.encode(x=x, y=y, text="line:N")))


def _table(axis: str, rows: Rows) -> Table:
    numbers = {AXES[axis]: "x_text", "latency": "latency_text", "an example": "each_text"}
    columns = [TableColumn(heading, itemgetter(key), str) for heading, key in numbers.items()]
    return Table.of([TableColumn("measurements", itemgetter("line")), *columns], rows, caption="Scaling")

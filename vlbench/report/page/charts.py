"""The page's charts, as Vega-Lite through Altair. Their colours are the page's variables, and so follow its theme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from vlbench.report.colours import FAMILIES
from vlbench.report.page.scales import scale_and_axis

FAMILY_NAMES = tuple(FAMILIES)
SHAPES = ("circle", "square", "triangle-up", "diamond")
INK, MUTED, LINE, PAGE = "var(--ink)", "var(--muted)", "var(--line)", "var(--page)"
FAMILY_COLOURS = [f"var(--{family})" for family in FAMILY_NAMES]
HEIGHT = 380
NAMED = "named"  # the marks that have their rows' labels beside them
FEW = 9  # places along an axis that each have a tick
FONT = "system-ui, sans-serif"
ANCHORS = ["right", "top-right", "bottom-right", "left", "top-left", "bottom-left", "top", "bottom"]
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])  # 6.4: what Altair writes
Chart = dict[str, Any]
Rows = Sequence[dict[str, Any]]

COLOUR = alt.Color(
    "family:N", scale=alt.Scale(domain=[*FAMILY_NAMES, "other"], range=[*FAMILY_COLOURS, INK]), legend=None
)
SHAPE = alt.Shape("family:N", scale=alt.Scale(domain=[*FAMILY_NAMES, "other"], range=list(SHAPES)), legend=None)


def stages(*, absolute: bool) -> Chart:
    """Dataset `stages`: a row a segment; bars stand in the order of their `rank`."""
    start, end, title = ("start_ms", "end_ms", "ms") if absolute else ("start", "end", "share of a pass, %")
    order = alt.EncodingSortField("rank", op="min")  # Vega keeps the order of what it has seen before
    base = alt.Chart(alt.NamedData("stages")).encode(y=alt.Y("key:N", sort=order, axis=None))
    scale = alt.Scale() if absolute else alt.Scale(domain=[0, 100])
    bars = base.mark_bar(height=16, yOffset=7, stroke=PAGE, strokeWidth=1).encode(
        x=alt.X(f"{start}:Q", title=title, scale=scale, axis=alt.Axis(grid=False, tickCount=5)),
        x2=end,
        color=alt.Color("colour:N", scale=None),
        tooltip=[alt.Tooltip("label:N", title="cell"), "stage:N", _tip("ms:N", "ms"), _tip("percent:N", "share")],
    )
    room = "datum.wide_ms" if absolute else "(datum.end - datum.start)"  # percent of the axis
    wide = f"{room} * width > 100 * (8 + 6.4 * length(datum.short))"
    words = base.transform_filter(wide).mark_text(fontSize=11, yOffset=7, tooltip=None)
    words = words.encode(
        x=alt.X(f"middle{'_ms' if absolute else ''}:Q"), text="short:N", color=alt.Color("on:N", scale=None)
    )
    first = base.transform_filter("datum.first")
    names = first.mark_text(align="left", fontSize=12, yOffset=-8, color=INK, limit=0).encode(
        x=alt.value(0), text="label:N"
    )
    totals = first.mark_text(align="right", fontSize=12, yOffset=-8, color=MUTED).encode(
        x=alt.value("width"), text="total:N"
    )
    return _finished(_layered(bars, words, names, totals), height=alt.Step(46))


def frontier(rows: Rows, *, cost: str, title: str, metric: str) -> Chart:
    """Dataset `frontier`: a row a model and task; `stairs` the line of those that no other beats."""
    base = alt.Chart(alt.NamedData("frontier"))
    x = alt.X(
        f"{cost}:Q",
        title=title,
        **scale_and_axis(one[name] for one in rows for name in (cost, f"{cost}_low", f"{cost}_high")),
    )
    y = alt.Y("accuracy:Q", title=f"{metric}, %", scale=alt.Scale(zero=False, padding=16))
    stairs = (
        alt.Chart(alt.NamedData("stairs"))
        .mark_line(interpolate="step-after", color=MUTED, strokeWidth=1)
        .encode(x=alt.X("x:Q", title=title), y=alt.Y("y:Q", title=f"{metric}, %"))
    )
    across = (
        base.transform_filter(f"datum.{cost}_low != null")
        .mark_rule(opacity=0.7)
        .encode(x=alt.X(f"{cost}_low:Q", title=title), x2=f"{cost}_high:Q", y=y, color=COLOUR)
    )
    upward = (
        base.transform_filter("datum.low != null")
        .mark_rule(opacity=0.7)
        .encode(x=x, y=alt.Y("low:Q", title=f"{metric}, %"), y2="high:Q", color=COLOUR)
    )
    points = base.mark_point(size=90, strokeWidth=2, opacity=1).encode(
        x=x,
        y=y,
        color=COLOUR,
        shape=SHAPE,
        fill=alt.condition("datum.on", COLOUR, alt.value(PAGE)),
        tooltip=[
            _tip("label:N", "model"),
            "family:N",
            _tip("accuracy_text:N", metric),
            _tip("latency_text:N", "latency"),
            _tip("macs_text:N", "MACs"),
            _tip("standing:N", "frontier"),
        ],
    )
    return _finished(
        _layered(stairs, *([across] if cost == "latency_ms" else []), upward, points.properties(name=NAMED))
    )


def scaling(rows: Rows, *, axis: str, title: str) -> Chart:
    """Dataset `scaling`: a row a point; `line` says which belong together."""
    base = alt.Chart(alt.NamedData("scaling"))
    places = sorted({one["x"] for one in rows})
    x = alt.X("x:Q", title=title, **scale_and_axis(places, at=places if len(places) <= FEW else ()))
    times = [one[name] for one in rows for name in ("latency_ms", "low", "high")]
    y = alt.Y("latency_ms:Q", title="latency, ms", **scale_and_axis(times))
    detail = alt.Detail("line:N")
    band = base.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("low:Q", title="latency, ms"), y2="high:Q", color=COLOUR, detail=detail
    )
    line = base.mark_line(strokeWidth=1.8).encode(x=x, y=y, color=COLOUR, detail=detail)
    points = base.mark_point(size=50, filled=True, opacity=1).encode(
        x=x,
        y=y,
        color=COLOUR,
        shape=SHAPE,
        tooltip=[
            _tip("line:N", "cells"),
            _tip("x_text:N", axis),
            _tip("latency_text:N", "latency"),
            _tip("each_text:N", "an example"),
        ],
    )
    names = base.transform_filter("datum.last").mark_text(align="right", dy=-10, color=INK, fontSize=12)
    return _finished(_layered(band, line, points, names.encode(x=x, y=y, text="line:N")))


def roofline(points: Rows, corners: Rows) -> Chart:
    """Datasets `points`, a row a pass or a stage, and `roofs`, the corners of each machine's roof."""
    roofs = alt.Chart(alt.NamedData("roofs"))
    marks_of = alt.Chart(alt.NamedData("points"))
    x = alt.X(
        "intensity:Q",
        title="arithmetic intensity, FLOP a byte",
        **scale_and_axis(one["intensity"] for one in [*points, *corners]),
    )
    y = alt.Y("gflops:Q", title="GFLOP/s", **scale_and_axis(one["gflops"] for one in [*points, *corners]))
    lines = roofs.mark_line(color=MUTED, strokeWidth=1.5).encode(x=x, y=y, detail="roof:N")
    named = (
        roofs.transform_filter("datum.last")
        .mark_text(align="right", dy=-9, color=MUTED, fontSize=11)
        .encode(x=x, y=y, text="roof:N")
    )
    tips = [
        _tip("label:N", "cell"),
        "stage:N",
        _tip("intensity_text:N", "intensity"),
        _tip("gflops_text:N", "achieved"),
        _tip("of_roof:N", "of the roof"),
    ]
    small = marks_of.transform_filter("datum.stage != 'pass'").mark_point(size=28, opacity=0.55, strokeWidth=1.2)
    large = marks_of.transform_filter("datum.stage == 'pass'").mark_point(size=110, filled=True, opacity=1)
    marks = [mark.encode(x=x, y=y, color=COLOUR, shape=SHAPE, tooltip=tips) for mark in (small, large)]
    return _finished(_layered(lines, named, marks[0], marks[1].properties(name=NAMED)))


def beside(rows: Rows, *, base: str) -> Chart:
    """Dataset `beside`: a row a cell and set, its latency as a multiple of the first set's."""
    data = alt.Chart(alt.NamedData("beside")).encode(y=alt.Y("key:N", sort=None, axis=None))
    title = f"latency, times that of {base}"
    x = alt.X(
        "ratio:Q",
        title=title,
        **scale_and_axis([1.0, *(one[name] for one in rows for name in ("ratio", "low", "high"))]),
    )
    one = alt.Chart(alt.NamedData("one")).mark_rule(color=MUTED, strokeDash=[4, 3]).encode(x=alt.X("x:Q", title=title))
    tips = [_tip("label:N", "cell"), _tip("head:N", "measured in"), _tip("text:N", "ratio"), "verdict:N"]
    level = data.mark_rule(yOffset=8, color=LINE).encode(x=alt.value(0), x2=alt.value("width"))
    interval = data.mark_rule(yOffset=8, strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q", color=COLOUR)
    points = data.mark_point(size=80, filled=True, opacity=1, yOffset=8).encode(
        x=x, color=COLOUR, shape=SHAPE, tooltip=tips
    )
    names = data.mark_text(align="left", fontSize=12, yOffset=-9, color=INK).encode(x=alt.value(0), text="label:N")
    said = data.mark_text(align="right", fontSize=12, yOffset=-9, color=MUTED).encode(
        x=alt.value("width"), text="text:N"
    )
    return _finished(_layered(level, one, interval, points, names, said), height=alt.Step(42))


def compiled(chart: Chart) -> Chart:
    """As Vega, so that a browser need not compile it, and with names beside marks where there is room for them."""
    import vl_convert  # noqa: PLC0415  slow to import

    spec: Chart = vl_convert.vegalite_to_vega(chart, VEGA_LITE)
    for place, mark in enumerate(spec["marks"], start=1):
        if mark["name"] == f"{NAMED}_marks":
            spec["marks"].insert(place, _names_of(mark["name"], [one["name"] for one in spec["marks"] if one != mark]))
            break
    return spec


def _names_of(marks: str, others: list[str]) -> Chart:
    """Vega's label transform, which Vega-Lite does not have: what would cover a name or a mark is left out."""
    words: Chart = {"text": {"field": "datum.label"}}
    words |= {key: {"value": value} for key, value in (("fill", INK), ("fontSize", 12), ("font", FONT))}
    room = {
        "type": "label",
        "size": {"signal": "[width, height]"},
        "anchor": ANCHORS,
        "offset": [5],
        "avoidMarks": others,
    }
    still = {"interactive": False, "aria": False}
    return {
        "type": "text",
        "name": "names",
        "from": {"data": marks},
        "encode": {"enter": words},
        "transform": [room],
        **still,
    }


def _layered(*marks: alt.Chart) -> alt.LayerChart:
    layered = alt.layer(*marks)
    assert isinstance(layered, alt.LayerChart)  # none of ours is a facet
    return layered


def _tip(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, title=title)


def _finished(chart: alt.LayerChart, height: Any = HEIGHT) -> Chart:
    axis = {"labelColor": MUTED, "titleColor": MUTED, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE}
    return (
        chart.properties(
            width="container",
            height=height,
            background="transparent",
        )
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_axis(**axis, labelFontSize=11, titleFontSize=12, titleFontWeight="normal", gridOpacity=0.6)
        .to_dict()
    )

"""What the page's charts share: Vega-Lite through Altair, and logarithmic axes with plain numbers at round places.
Colours are the page's variables, and so follow its theme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from vlbench.report.colours import FAMILIES
from vlbench.tables.numbers import bracketed

FAMILY_NAMES = tuple(FAMILIES)
SHAPES = ("circle", "square", "triangle-up", "diamond")
INK, MUTED, LINE, PAGE = "var(--ink)", "var(--muted)", "var(--line)", "var(--page)"
FAMILY_COLOURS = [f"var(--{family})" for family in FAMILY_NAMES]
HEIGHT = 380
NAMED = "named"  # the marks with their rows' labels next to them
FONT = "system-ui, sans-serif"
ANCHORS = ["right", "top-right", "bottom-right", "left", "top-left", "bottom-left", "top", "bottom"]
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])  # 6.4: what Altair writes
Chart = dict[str, Any]

COLOUR = alt.Color(
    "family:N", scale=alt.Scale(domain=[*FAMILY_NAMES, "other"], range=[*FAMILY_COLOURS, INK]), legend=None
)
SHAPE = alt.Shape("family:N", scale=alt.Scale(domain=[*FAMILY_NAMES, "other"], range=list(SHAPES)), legend=None)


def compiled(chart: Chart) -> Chart:
    """As Vega, so that a browser need not compile it, with names next to marks if there is room for them."""
    import vl_convert  # noqa: PLC0415  slow to import

    spec: Chart = vl_convert.vegalite_to_vega(chart, VEGA_LITE)
    for index, mark in enumerate(spec["marks"], start=1):
        if mark["name"] == f"{NAMED}_marks":
            others = [other["name"] for other in spec["marks"] if other != mark]
            spec["marks"].insert(index, _names_of(mark["name"], others))
            break
    return spec


def _names_of(marks: str, others: list[str]) -> Chart:
    """Vega's label transform, which Vega-Lite does not have: a name that would cover another or a mark is left out."""
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


def known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) or not math.isfinite(value) else float(value)


def bounds(row: Mapping[Any, Any], name: str) -> tuple[float | None, float | None]:
    """The ends of a value's interval."""
    return known(row.get(f"{name}_low")), known(row.get(f"{name}_high"))


def milliseconds(value: float, low: float | None, high: float | None) -> str:
    number, _, interval = bracketed(value, (low, high)).partition(" ")
    return f"{number} ms {interval}".strip()


def layered(*marks: alt.Chart) -> alt.LayerChart:
    layered = alt.layer(*marks)
    assert isinstance(layered, alt.LayerChart)  # none of ours is a facet
    return layered


def tip(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, title=title)


def finished(chart: alt.LayerChart, height: Any = HEIGHT) -> Chart:
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


ROUND = ((1, 10), (1, 3, 10), (1, 2, 5, 10), (1, 1.5, 2, 3, 4, 5, 6, 8, 10))  # of each power of ten, few to many
ENOUGH, ROOM = 4, 0.06  # ticks; room at both ends, as a share of the axis
NARROWEST = 1.25  # how much larger the end of an axis is than its beginning, at the least


def domain(values: Iterable[float | None]) -> tuple[float, float]:
    """Both ends of an axis that holds these, with some room; none of them is negative or zero."""
    known = [value for value in values if value is not None]
    least, most = min(known), max(known)
    if most / least < NARROWEST:
        middle = math.sqrt(least * most)
        least, most = middle / math.sqrt(NARROWEST), middle * math.sqrt(NARROWEST)
    room = (most / least) ** ROOM
    return least / room, most * room


def ticks(low: float, high: float) -> list[float]:
    """As few as are enough, between two ends; evenly spaced if there are too few round multiples of powers of ten."""
    fitting: list[float] = []
    for steps in ROUND:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        multiples = {float(f"{step * 10.0**power:.6g}") for power in powers for step in steps}
        fitting = sorted(value for value in multiples if low <= value <= high)
        if len(fitting) >= ENOUGH:
            return fitting
    step = 10 ** math.floor(math.log10((high - low) / ENOUGH))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 2 * ENOUGH)
    first = math.ceil(low / step)
    return [float(f"{count * step:.6g}") for count in range(first, math.floor(high / step) + 1)]


def scale_and_axis(values: Iterable[float | None], at: Sequence[float] = ()) -> dict[str, Any]:
    """What a logarithmic channel of these values takes; `at`: its ticks, if they are known."""
    low, high = domain(values)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return {"scale": scale, "axis": alt.Axis(values=list(at) or ticks(low, high), format=",~r", labelOverlap=True)}

"""The page's section on stages: a bar per measurement."""

from __future__ import annotations

from collections.abc import Hashable
from operator import itemgetter
from typing import Any

import altair as alt

from vlbench.report.colours import ink_on, stage_colour
from vlbench.report.frames import Results
from vlbench.report.page import vega
from vlbench.report.page.sections import Chart, Rows, Section
from vlbench.report.tables import stage_columns
from vlbench.report.views import labels, stage_bars
from vlbench.tables.numbers import short_number
from vlbench.tables.table import Table, TableColumn

TEXT = (
    "Each bar is one pass, in the order of its stages. Visual stages are in shades of the family's colour; text, "
    "interaction and head are grey. The bars follow the order and the filters of the table of models."
)
ALT_TEXT = (
    "Stacked bars, one per measurement: the time of each stage of a pass. The table below holds the same numbers."
)


def section(results: Results) -> Section | None:
    rows = stage_rows(results)
    if not rows:
        return None
    specs = {"share of a pass": _spec(absolute=False), "milliseconds": _spec(absolute=True)}
    chart = Chart(name="stages", alt_text=ALT_TEXT, specs=specs, data={"stages": rows}, follows="stages")
    table = _table(results)
    return Section(
        "stages", "Where the time goes", TEXT, (chart,), families=True, summary=table.caption, tables=(table,)
    )


def stage_rows(results: Results) -> Rows:
    """Segments of bars in the order of the measurements; `cell` is the number of the row in the page's table."""
    frame = stage_bars(results)
    numbers = {(folder, name): number for number, (folder, name, _) in enumerate(results.named)}
    rows: Rows = []
    for (folder, cell), part in frame.groupby(["folder", "cell"], sort=False):
        total = float(part["end_ms"].max())
        for index, segment in enumerate(part.to_dict("records")):
            rows.append(_segment(segment, total) | {"cell": numbers[str(folder), str(cell)], "first": index == 0})
    return rows


def _segment(row: dict[Hashable, Any], total: float) -> dict[str, Any]:
    colour = stage_colour(row["family"], row["stage"])
    start, end = row["start_ms"], row["end_ms"]
    return {
        **{"key": f"{row['folder']}\n{row['cell']}", "label": row["label"], "family": row["family"]},
        **{"stage": row["stage"], "short": row["stage"].removeprefix("visual."), "colour": colour},
        "on": ink_on(colour),
        **{"start_ms": start, "end_ms": end, "middle_ms": (start + end) / 2},
        **{"start": 100 * start / total, "end": 100 * end / total, "middle": 50 * (start + end) / total},
        **{"ms": short_number(row["latency_ms"]), "percent": f"{100 * (end - start) / total:.1f}%"},
        "total": f"{short_number(total)} ms",
    }


def _spec(*, absolute: bool) -> dict[str, Any]:
    """Of the dataset `stages`, one row per segment; bars are in the order of their `rank`."""
    start, end, title = ("start_ms", "end_ms", "ms") if absolute else ("start", "end", "share of a pass, %")
    order = alt.EncodingSortField("rank", op="min")  # Vega keeps the order of what it has seen before
    base = alt.Chart(alt.NamedData("stages")).encode(y=alt.Y("key:N", sort=order, axis=None))
    scale = alt.Scale() if absolute else alt.Scale(domain=[0, 100])
    tips = [vega.tip("label:N", "measurement"), "stage:N", vega.tip("ms:N", "ms"), vega.tip("percent:N", "share")]
    bars = base.mark_bar(height=16, yOffset=7, stroke=vega.PAGE, strokeWidth=1).encode(
        x=alt.X(f"{start}:Q", title=title, scale=scale, axis=alt.Axis(grid=False, tickCount=5)),
        x2=end,
        color=alt.Color("colour:N", scale=None),
        tooltip=tips,
    )
    room = "datum.wide_ms" if absolute else "(datum.end - datum.start)"  # percent of the axis
    wide = f"{room} * width > 100 * (8 + 6.4 * length(datum.short))"
    words = base.transform_filter(wide).mark_text(fontSize=11, yOffset=7, tooltip=None)
    words = words.encode(
        x=alt.X(f"middle{'_ms' if absolute else ''}:Q"), text="short:N", color=alt.Color("on:N", scale=None)
    )
    first = base.transform_filter("datum.first")
    names = first.mark_text(align="left", fontSize=12, yOffset=-8, color=vega.INK, limit=0)
    totals = first.mark_text(align="right", fontSize=12, yOffset=-8, color=vega.MUTED)
    names, totals = names.encode(x=alt.value(0), text="label:N"), totals.encode(x=alt.value("width"), text="total:N")
    return vega.finished(vega.layered(bars, words, names, totals), height=alt.Step(46))


def _table(results: Results) -> Table:
    """By labels that distinguish the measurements of one model."""
    labelled = zip(labels(results), (result for *_, result in results.named), strict=True)
    staged = [(label, result) for label, result in labelled if result.latency_ms_by_stage]
    columns = [column.of(itemgetter(1)) for column in stage_columns([result for _, result in staged])]
    table = Table.of((TableColumn("model", itemgetter(0)), *columns), staged, caption="Median ms by stage")
    return table.without_empty()

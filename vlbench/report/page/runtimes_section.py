"""The page's section on runtimes: a bar for each backend and precision of a model, and their ratios as a table."""

from __future__ import annotations

from typing import Any

import altair as alt

from vlbench.report.colours import ink_on
from vlbench.report.frames import Results
from vlbench.report.page import vega
from vlbench.report.page.sections import Chart, Rows, Section
from vlbench.report.runtimes import RuntimeGroup, ratio_words, runtime_groups
from vlbench.report.runtimes_figure import segment_colours
from vlbench.tables.numbers import any_number, bracketed, short_number
from vlbench.tables.table import Table, TableColumn

TEXT = (
    "One pass of each model through each backend and in each precision. Segments are stages, as shares of passes timed "
    "by stage. Behind each bar is its latency, and how many times that of eager PyTorch in fp32 it is, with the 95% "
    "interval of that if there are enough restarts."
)
MOST_GROUPS = 12  # models with a chart; the table has all
ROOM = 1.7  # how much longer an axis is than its longest bar, for what stands behind it


def section(results: Results) -> Section | None:
    groups = runtime_groups(results)
    if not groups:
        return None
    charts = tuple(_chart(group, number) for number, group in enumerate(groups[:MOST_GROUPS]))
    return Section(
        "runtimes", "What a runtime buys", TEXT, charts, link="Runtimes", families=True, tables=(_table(groups),)
    )


def _chart(group: RuntimeGroup, number: int) -> Chart:
    text = f"Stacked bars, one per backend and precision of {group.label}. The table below holds the same numbers."
    data = {"runtimes": runtime_rows(group)}
    return Chart(name=f"runtimes-{number}", alt_text=text, specs={"": _spec(group)}, data=data)


def runtime_rows(group: RuntimeGroup) -> Rows:
    """A row per segment, with its share of the axis; the last of each bar has the words behind it."""
    rows: Rows = []
    axis_ms = _axis_ms(group)
    for rank, bar in enumerate(group.bars):
        start = 0.0
        for index, (stage, width) in enumerate(bar.segments):
            colour, edge = segment_colours(group.family, stage)
            is_last = index == len(bar.segments) - 1
            rows.append(
                {
                    **{"name": bar.name, "rank": rank, "stage": stage, "short": stage.removeprefix("visual.")},
                    **{"start_ms": start, "end_ms": start + width, "middle_ms": start + width / 2},
                    **{"colour": colour, "edge": edge, "on": ink_on(colour), "ms": short_number(width)},
                    **{"room": width / axis_ms, "behind": bar.words if is_last else ""},
                }
            )
            start += width
    return rows


def _axis_ms(group: RuntimeGroup) -> float:
    return ROOM * max(bar.latency_ms for bar in group.bars)


def _spec(group: RuntimeGroup) -> dict[str, Any]:
    order = alt.EncodingSortField("rank", op="min")
    base = alt.Chart(
        alt.NamedData("runtimes"), title=alt.Title(group.label, anchor="start", color=vega.INK, fontSize=13)
    )
    base = base.encode(y=alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, ticks=False)))
    room = alt.Scale(domain=[0, _axis_ms(group)], nice=False)
    bars = base.mark_bar(height=16, strokeWidth=1).encode(
        x=alt.X("start_ms:Q", title="ms", scale=room, axis=alt.Axis(grid=False, tickCount=5)),
        x2="end_ms",
        color=alt.Color("colour:N", scale=None),
        stroke=alt.Stroke("edge:N", scale=None),
        tooltip=[vega.tip("name:N", "measurement"), "stage:N", vega.tip("ms:N", "ms")],
    )
    wide = base.transform_filter("datum.room * width > 8 + 6.4 * length(datum.short)")
    within = wide.mark_text(fontSize=11, tooltip=None)
    within = within.encode(x="middle_ms:Q", text="short:N", color=alt.Color("on:N", scale=None))
    behind = base.transform_filter("datum.behind").mark_text(align="left", dx=5, fontSize=12, color=vega.INK, limit=0)
    behind = behind.encode(x="end_ms:Q", text="behind:N")
    return vega.finished(vega.layered(bars, within, behind), height=alt.Step(24))


def _table(groups: list[RuntimeGroup]) -> Table:
    rows = [(group, bar) for group in groups for bar in group.bars]
    columns: tuple[TableColumn[Any], ...] = (
        TableColumn("model", lambda row: row[0].label),
        TableColumn("runtime", lambda row: row[1].name),
        TableColumn(
            "latency ms (95%)",
            lambda row: row[1].result.latency_ms,
            lambda latency: bracketed(latency.median, latency.ci95, any_number),
        ),
        TableColumn("times eager fp32 (95%)", lambda row: row[1].effect, ratio_words),
    )
    return Table.of(columns, rows, caption="Latency through each runtime").without_empty()

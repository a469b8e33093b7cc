"""Results side by side: the first set of cells against each other one, by folder, machine, device and precision."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from vlbench.errors import InputError
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.outcomes import CellOutcome, Comparison
from vlbench.regression.compare.verdicts import change
from vlbench.report.frames import Results
from vlbench.report.page import vega
from vlbench.report.page.sections import MOST_BARS, Chart, Rows
from vlbench.report.page.vega import scale_and_axis
from vlbench.runner.records import Result
from vlbench.tables.numbers import short_number

NONE = "-"
MOST = 6  # sets that are held against the first; more are a matter for vlbench history
SETTINGS: dict[str, Callable[[Result], str]] = {
    "machine": lambda result: result.machine.in_few_words(),
    "software": lambda result: f"torch {result.machine.torch}, Python {result.machine.python}",
    "device": lambda result: result.device,
    "precision": lambda result: result.precision,
    "threads": lambda result: f"{result.machine.threads} thread{'s' if result.machine.threads > 1 else ''}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Set:
    folder: str
    settings: tuple[str, ...]
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A set against the first: `differences` are what a reader must know before the ratios are read."""

    base: str
    head: str
    differences: tuple[str, ...]
    cells: tuple[CellOutcome, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return f"{self.base}, ms", f"{self.head}, ms", "times", "interval", "verdict"

    @property
    def rows(self) -> list[tuple[str, tuple[str, ...], str]]:
        """Of each cell its name, the words of each column, and why."""
        return [
            (cell.cell, tuple(_words(cell)), cell.moved.text if cell.moved else cell.reason or "")
            for cell in self.cells
        ]


def _words(cell: CellOutcome) -> Iterator[str]:
    effect = cell.effect
    for latency in (cell.base_ms, cell.head_ms):
        yield NONE if latency is None else short_number(latency)
    yield f"{effect.ratio:.3g}" if effect else NONE
    known = effect is not None and effect.low is not None and effect.high is not None
    yield f"{effect.low:.3g} to {effect.high:.3g}" if effect and known else NONE
    yield cell.verdict


def side_by_side(results: Results) -> list[Beside]:
    """Empty where there is one set, or none that shares a model with the first."""
    sets = _sets(results)
    names = _names(sets)
    sides = []
    for name, other in list(zip(names, sets, strict=True))[1 : MOST + 1]:
        try:
            outcome = compare(*_alike(sets[0], other), names=(names[0], name), force=True)
        except InputError:
            continue  # no cell in common
        sides.append(_beside(outcome))
    return sides


def _alike(base: _Set, other: _Set) -> tuple[list[Result], list[Result]]:
    """The cells of both whose inputs both have, whatever else they are measured with."""
    inputs = [{_input(result) for result in each.results} for each in (base, other)]
    shared = inputs[0] & inputs[1]
    first, second = ([result for result in each.results if _input(result) in shared] for each in (base, other))
    return first, second


def _input(result: Result) -> Hashable:
    return result.model, result.image_size, result.text_tokens, result.image_tokens, result.batch


def _beside(outcome: Comparison) -> Beside:
    lines = (*outcome.differences, *outcome.notes)
    return Beside(
        base=outcome.base,
        head=outcome.head,
        differences=tuple(line.replace("BASE", outcome.base).replace("HEAD", outcome.head) for line in lines),
        cells=outcome.cells,
    )


def _sets(results: Results) -> list[_Set]:
    groups: dict[tuple[str, tuple[str, ...]], list[Result]] = {}
    for folder, _, result in results.named:
        settings = tuple(setting(result) for setting in SETTINGS.values())
        groups.setdefault((folder, settings), []).append(result)
    return [_Set(folder=folder, settings=values, results=tuple(group)) for (folder, values), group in groups.items()]


def _names(sets: Sequence[_Set]) -> list[str]:
    """The folder, where that tells a set from the others; else what differs among the sets, too."""
    folders = [each.folder for each in sets]
    if len(set(folders)) == len(sets):
        return folders
    varying = [index for index in range(len(SETTINGS)) if len({each.settings[index] for each in sets}) > 1]
    several = len(set(folders)) > 1
    return [
        ", ".join([*([each.folder] if several else []), *(each.settings[index] for index in varying)]) for each in sets
    ]


def beside_chart(results: Results, sides: Sequence[Beside]) -> Chart | None:
    """All ratios with their intervals; None if there are none."""
    families = {result.model: result.family for *_, result in results.named}
    rows = [row for other in sides for row in _chart_rows(other, families, several=len(sides) > 1)]
    if not rows:
        return None
    text = f"Latency as a multiple of that in {sides[0].base}, with intervals; the table below holds the same numbers."
    data: dict[str, Rows] = {"beside": rows[:MOST_BARS], "one": [{"x": 1}]}
    return Chart(name="beside", alt_text=text, specs={"": _spec(rows, base=sides[0].base)}, data=data)


def _chart_rows(other: Beside, families: dict[str, str], *, several: bool) -> Rows:
    return [
        {
            **{"key": f"{other.head}\n{cell.cell}", "head": other.head, "family": families[cell.model]},
            "label": f"{cell.cell} \u00b7 {other.head}" if several else cell.cell,
            **{"ratio": effect.ratio, "low": effect.low, "high": effect.high, "verdict": cell.verdict},
            "text": _ratio_text(effect.ratio, cell.verdict),
        }
        for cell in other.cells
        if (effect := cell.effect)
    ]


def _ratio_text(ratio: float, verdict: str) -> str:
    if verdict == "unknown":
        return f"{change(ratio)}, unknown" if 0.5 < ratio < 2 else f"{ratio:.3g} times"
    return f"{ratio:.3g} times, {verdict}"


def _spec(rows: Rows, *, base: str) -> dict[str, Any]:
    """Of the dataset `beside`, one row per measurement and set: its latency as a multiple of the first set's."""
    bars = alt.Chart(alt.NamedData("beside")).encode(y=alt.Y("key:N", sort=None, axis=None))
    title = f"latency, times that of {base}"
    ratios = [1.0, *(row[name] for row in rows for name in ("ratio", "low", "high"))]
    x = alt.X("ratio:Q", title=title, **scale_and_axis(ratios))
    equal = alt.Chart(alt.NamedData("one")).mark_rule(color=vega.MUTED, strokeDash=[4, 3])
    equal = equal.encode(x=alt.X("x:Q", title=title))
    fields = {"label": "measurement", "head": "measured in", "text": "ratio"}
    tips = [*(vega.tip(f"{key}:N", fields[key]) for key in fields), "verdict:N"]
    level = bars.mark_rule(yOffset=8, color=vega.LINE).encode(x=alt.value(0), x2=alt.value("width"))
    interval = bars.mark_rule(yOffset=8, strokeWidth=2)
    interval = interval.encode(x=alt.X("low:Q", title=title), x2="high:Q", color=vega.COLOUR)
    points = bars.mark_point(size=80, filled=True, opacity=1, yOffset=8)
    points = points.encode(x=x, color=vega.COLOUR, shape=vega.SHAPE, tooltip=tips)
    names = bars.mark_text(align="left", fontSize=12, yOffset=-9, color=vega.INK)
    texts = bars.mark_text(align="right", fontSize=12, yOffset=-9, color=vega.MUTED)
    names, texts = names.encode(x=alt.value(0), text="label:N"), texts.encode(x=alt.value("width"), text="text:N")
    return vega.finished(vega.layered(level, equal, interval, points, names, texts), height=alt.Step(42))

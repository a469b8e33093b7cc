"""`report.html`: one file that needs no network, with what results folders hold."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vlbench.errors import InputError
from vlbench.report.frames import Results
from vlbench.report.page import charts, data, plain, sources
from vlbench.report.page.beside import Beside, side_by_side
from vlbench.report.page.reported import suites
from vlbench.report.page.summary import headlines
from vlbench.report.page.table import build_table
from vlbench.tables.table import Table
from vlbench.version import __version__

ASSETS = "assets"
MOST_BARS = 24  # of a chart with a line a cell; the table's filters choose which


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture of the page: one of `specs`, by the words of its button, over `data`. `said` is for who cannot see it.

    `follows` names the dataset whose rows belong to cells of the table, and are shown as these are.
    """

    name: str
    said: str
    specs: dict[str, dict[str, Any]]
    data: dict[str, list[dict[str, Any]]]
    follows: str | None = None
    table: Table | None = None

    def as_dict(self) -> dict[str, Any]:
        specs = {words: charts.compiled(spec) for words, spec in self.specs.items()}
        return {
            "name": self.name,
            "said": self.said,
            "specs": specs,
            "data": self.data,
            "follows": self.follows,
            "most": MOST_BARS,
        }


def write(results: Results, path: Path, title: str = "vlbench report") -> None:
    """Raises InputError where there is nothing to show, OSError where the file cannot be written."""
    path.write_text(render(results, title), encoding="utf-8")


def render(results: Results, title: str = "vlbench report") -> str:
    """The page. Raises InputError where the folders hold no results at all."""
    if not any(folder.results or folder.evaluations or folder.reproduced for folder in results.folders):
        raise InputError(
            f"{', '.join(str(one.path) for one in results.folders)}: hold no results yet; vlbench run makes some"
        )
    beside = side_by_side(results)
    drawn = [*_stages(results), *_frontier(results), *_scaling(results), *_roofline(results), *_beside(results, beside)]
    environment = Environment(
        loader=PackageLoader("vlbench.report.page", ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole_options"] = whole_options
    return environment.get_template("report.html").render(
        title=title,
        version=__version__,
        style=_asset("report.css"),
        script=_asset("report.js"),
        library=_library() if drawn else "",
        content=_embedded({"charts": [chart.as_dict() for chart in drawn]}),
        charts={kind: [one for one in drawn if one.name.split("-")[0] == kind] for kind in KINDS},
        table=build_table(results),
        headlines=headlines(results),
        sources=sources.sources(results),
        tables={"stages": plain.stages(results), "metrics": plain.metrics(results)},
        several=len(results.folders) > 1,
        beside=beside,
        suites=suites(results),
        failed=sources.failed(results),
        noisy=sources.noisy(results),
        noise_counts=sources.noise_counts(results),
        peaks=results.peaks.to_dict("records"),
        most_bars=MOST_BARS,
    )


SNIPPET = "window.vegaEmbed = vegaEmbed;"
KINDS = ("stages", "frontier", "scaling", "roofline", "beside")


def _stages(results: Results) -> list[Chart]:
    rows = data.stage_rows(results)
    specs = {"share of a pass": charts.stages(absolute=False), "milliseconds": charts.stages(absolute=True)}
    said = "Stacked bars, one a cell: how long each stage of a pass takes. The table below holds the same figures."
    return [Chart(name="stages", said=said, specs=specs, data={"stages": rows}, follows="stages")] if rows else []


def _frontier(results: Results) -> list[Chart]:
    found: list[Chart] = []
    for (task, split, metric), rows in data.frontier_rows(results).items():
        for cost, title in (("latency_ms", "latency, ms"), ("gmacs", "GMACs")):
            costed = [one | {"on": one["on" if cost == "latency_ms" else "on_macs"]} for one in rows if one[cost]]
            if not costed:
                continue
            said = f"{metric} on {task} {split} over {title} of {len(costed)} models, and those that none beats."
            found.append(
                Chart(
                    name=f"frontier-{len(found)}",
                    said=said,
                    specs={"": charts.frontier(costed, cost=cost, title=title, metric=f"{metric}, {task} {split}")},
                    data={"frontier": costed, "stairs": data.stairs(costed, cost)},
                )
            )
    return found


def _scaling(results: Results) -> list[Chart]:
    return [
        Chart(
            name=f"scaling-{place}",
            said=f"Latency over {data.AXES[axis]}, {len({one['line'] for one in rows})} lines, both axes logarithmic.",
            specs={"": charts.scaling(rows, axis=axis, title=data.AXES[axis])},
            data={"scaling": rows},
            table=plain.scaling(data.AXES[axis], rows),
        )
        for place, (axis, rows) in enumerate(data.scaling_rows(results).items())
    ]


def _roofline(results: Results) -> list[Chart]:
    points, roofs = data.roofline_rows(results)
    if not points:
        return []
    passes = sum(one["stage"] == "pass" for one in points)
    said = f"Achieved GFLOP/s over arithmetic intensity of {passes} cells and their stages."
    specs = {"": charts.roofline(points, roofs)}
    table = plain.roofline(points)
    return [Chart(name="roofline", said=said, specs=specs, data={"points": points, "roofs": roofs}, table=table)]


def _beside(results: Results, found: Sequence[Beside]) -> list[Chart]:
    families = {one.model: one.family for *_, one in results.named}
    rows = data.beside_rows(found, families)
    if not rows:
        return []
    said = f"Latency as a multiple of that in {found[0].base}, with intervals; the table below holds the same figures."
    specs = {"": charts.beside(rows, base=found[0].base)}
    return [Chart(name="beside", said=said, specs=specs, data={"beside": rows[:MOST_BARS], "one": [{"x": 1}]})]


def whole_options(text: str) -> Markup:
    """With no line break within an option of a command."""
    return Markup(re.sub(r"(?<!\S)(--[\w-]+)", r'<span class="whole">\1</span>', str(escape(text))))


def _asset(name: str) -> Markup:
    return Markup(resources.files("vlbench.report.page").joinpath(ASSETS, name).read_text(encoding="utf-8"))


@cache
def _library() -> Markup:
    """Vega and Vega-Embed in one script."""
    import vl_convert  # noqa: PLC0415  slow to import

    return Markup(vl_convert.javascript_bundle(SNIPPET, charts.VEGA_LITE).replace("</script", "<\\/script"))


def _embedded(content: Any) -> Markup:
    """JSON that no name in it can end the script of."""
    return Markup(json.dumps(content, allow_nan=False).replace("<", "\\u003c"))

"""`report.html`: one file that needs no network, with what results folders hold."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vlbench.errors import InputError
from vlbench.files.writing import write_text
from vlbench.report.figure_registry import figure_sections
from vlbench.report.frames import Results
from vlbench.report.page import sources, vega
from vlbench.report.page.beside import beside_chart, side_by_side
from vlbench.report.page.reported import suites
from vlbench.report.page.summary import headlines
from vlbench.report.page.table import build_table
from vlbench.tables.markup import escape_xml
from vlbench.version import __version__

ASSETS = "assets"


def write(results: Results, path: Path, title: str = "vlbench report") -> None:
    """Raises InputError where there is nothing to show, OSError where the file cannot be written."""
    write_text(path, render(results, title))


def render(results: Results, title: str = "vlbench report") -> str:
    """The page. Raises InputError where the folders hold no results at all."""
    if not any(folder.results or folder.evaluations or folder.reproduced for folder in results.folders):
        raise InputError(
            f"{', '.join(str(folder.path) for folder in results.folders)}: hold no results yet; vlbench run makes some"
        )
    beside = side_by_side(results)
    chart = beside_chart(results, beside)
    sections = figure_sections(results)
    drawn = [*(part for section in sections for part in section.charts), *([chart] if chart else [])]
    environment = Environment(
        loader=PackageLoader("vlbench.report.page", ASSETS),
        autoescape=True,
        finalize=_visible_output,
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
        sections=sections,
        beside_chart=chart,
        table=build_table(results),
        headlines=headlines(results),
        sources=sources.sources(results),
        several=len(results.folders) > 1,
        beside=beside,
        suites=suites(results),
        failed=sources.failed(results),
        noisy=sources.noisy(results),
        noise_counts=sources.noise_counts(results),
    )


class Asset(Markup):
    """Code of the page, which stands in it as it is."""


def _visible_output(value: Any) -> Any:
    """What a template shows, with every invisible character as an escape."""
    if isinstance(value, Asset) or not isinstance(value, str):
        return value
    return Markup(escape_xml(str(value))) if isinstance(value, Markup) else escape_xml(value)


SNIPPET = "window.vegaEmbed = vegaEmbed;"


def whole_options(text: str) -> Markup:
    """With no line break within an option of a command."""
    return Markup(re.sub(r"(?<!\S)(--[\w-]+)", r'<span class="whole">\1</span>', str(escape(text))))


def _asset(name: str) -> Asset:
    return Asset(resources.files("vlbench.report.page").joinpath(ASSETS, name).read_text(encoding="utf-8"))


@cache
def _library() -> Asset:
    """Vega and Vega-Embed in one script."""
    import vl_convert  # noqa: PLC0415  slow to import

    return Asset(vl_convert.javascript_bundle(SNIPPET, vega.VEGA_LITE).replace("</script", "<\\/script"))


def _embedded(content: Any) -> Markup:
    """JSON that no name in it can end the script of, with every invisible character as an escape."""
    return Markup(json.dumps(_visible_texts(content), allow_nan=False).replace("<", "\\u003c"))


def _visible_texts(content: Any) -> Any:
    if isinstance(content, dict):
        return {_visible_texts(key): _visible_texts(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_visible_texts(value) for value in content]
    return escape_xml(content) if isinstance(content, str) else content

"""The page's sections with charts: each is made by a function that `vlbench.report.figure_registry` names."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from vlbench.report.page import vega
from vlbench.tables.table import Table

MOST_BARS = 24  # of a chart with a line per measurement; the table's filters choose which

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of the page.

    Attributes:
        name: unique on the page; its element is `chart-NAME`.
        alt_text: for readers who cannot see it.
        specs: Vega-Lite, by the text of the button that shows it.
        data: rows of each dataset that the specs name.
        follows: the dataset whose rows belong to rows of the page's table, and are filtered and sorted with them.
    """

    name: str
    alt_text: str
    specs: dict[str, dict[str, Any]]
    data: dict[str, Rows]
    follows: str | None = None

    def as_dict(self) -> dict[str, Any]:
        specs = {button: vega.compiled(spec) for button, spec in self.specs.items()}
        return {
            "name": self.name,
            "alt_text": self.alt_text,
            "specs": specs,
            "data": self.data,
            "follows": self.follows,
            "most": MOST_BARS,
        }


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a paragraph, charts, and tables with the same numbers below a line that opens them.

    Attributes:
        name: its anchor.
        link: its title in the page's navigation, if shorter than its heading.
        families: whether a legend of the families stands below the charts.
        summary: the line that opens the tables.
    """

    name: str
    title: str
    text: str
    charts: tuple[Chart, ...]
    _: KW_ONLY
    link: str = ""
    families: bool = False
    summary: str = "The same as a table"
    tables: tuple[Table, ...]

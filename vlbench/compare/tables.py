"""A comparison for a terminal, and as the Markdown comment of a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vlbench.compare.outcomes import Comparison
from vlbench.compare.words import (
    HEADER,
    STAGE_HEADER,
    Row,
    gate_lines,
    headline,
    note_lines,
    reason_lines,
    rows,
    stage_rows,
)
from vlbench.markup import bullets, details, escape_markdown

COLOURS = {"slower": "bold red", "faster": "bold blue", "same": "green", "unknown": "yellow"}
OVERALL = {"regression": "bold red", "cannot tell": "bold yellow", "no regression": "bold green"}
WORDS = ("cell", "stage", "verdict", "what moved", "since", "commit", "subject")  # columns of words
SPARED = ("restarts", "what moved")  # columns that a narrow terminal goes without: the lines below say the same
MARK = "<!-- vlbench compare -->"  # by which a workflow finds its earlier comment


def render(comparison: Comparison, width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns: a row a cell, or a few lines a cell where a row does not fit; None: any."""
    parts: list[RenderableType] = [
        Text(headline(comparison), style=OVERALL[comparison.verdict]),
        Text(""),
        table(HEADER, rows(comparison), width),
    ]
    for cell, stages in stage_rows(comparison).items():
        parts += [Text(""), Text(f"Stages of {cell}", style="italic"), table(STAGE_HEADER, stages, width)]
    parts += _lines("Why", reason_lines(comparison))
    parts += _lines("Exact gates", gate_lines(comparison))
    return Group(*parts, Text(""), Text("\n".join(note_lines(comparison)), style="dim", overflow="fold"))


def _lines(title: str, lines: Sequence[str]) -> list[RenderableType]:
    if not lines:
        return []
    return [Text(""), Text(title, style="italic"), Text("\n".join(lines), overflow="fold")]


def table(header: Row, content: Sequence[Row], width: int | None) -> RenderableType:
    """Without columns that are empty; one of them is `verdict`. Where it is too wide, a few lines a row."""
    header, content = without_empty(header, content)
    for name in SPARED:
        if width is not None and name in header and _natural_width([header, *content]) > width:
            header, content = _without(name, header, content)
    if width is not None and _natural_width([header, *content]) > width:
        return Text("\n").join(_block(header, row) for row in content)
    grid = Table(header_style="bold", box=None, pad_edge=False)
    for name in header:
        grid.add_column(name, justify="left" if name in WORDS else "right", no_wrap=True)
    for row in content:
        grid.add_row(*(Text(value, style=COLOURS.get(value, "")) for value in row))
    return grid


def _block(header: Row, row: Row) -> Text:
    """`slower  vilt-b32`, and beneath it every other column by its name."""
    named = dict(zip(header[1:], row[1:], strict=True))
    verdict = named.pop("verdict")
    text = Text(f"{verdict:<8}", style=COLOURS.get(verdict, ""))
    text.append(row[0], style="not bold default")
    detail = ", ".join(f"{name} {value}" for name, value in named.items() if value)
    return text.append(f"\n    {detail}", style="not bold default")


def without_empty(header: Row, content: Sequence[Row]) -> tuple[Row, Sequence[Row]]:
    for place, name in reversed(list(enumerate(header))):
        if not any(row[place] for row in content):
            header, content = _without(name, header, content)
    return header, content


def _without(name: str, header: Row, content: Sequence[Row]) -> tuple[Row, Sequence[Row]]:
    place = header.index(name)
    return header[:place] + header[place + 1 :], [row[:place] + row[place + 1 :] for row in content]


def _natural_width(lines: Sequence[Row]) -> int:
    """Columns of a terminal that a table takes, two between each pair of its own."""
    return sum(max(map(len, column)) + 2 for column in zip(*lines, strict=True)) - 2


def markdown(comparison: Comparison, picture: str | None = None) -> str:
    """A comment: one line of verdict, the cells, the picture where there is one, and details to open."""
    parts = [
        MARK,
        f"**vlbench: {escape_markdown(headline(comparison))}**",
        markdown_table(*without_empty(HEADER, rows(comparison))),
    ]
    if picture:
        parts.append(f"![Latency of HEAD as a change from BASE]({picture.replace(' ', '%20')})")
    if reason_lines(comparison):
        parts.append(bullets(reason_lines(comparison)))
    for cell, stages in stage_rows(comparison).items():
        parts.append(details(f"Stages of {escape_markdown(cell)}", markdown_table(STAGE_HEADER, stages)))
    parts.append(details("Exact gates", bullets(gate_lines(comparison))))
    parts.append(details("What was compared", bullets(note_lines(comparison))))
    return "\n\n".join(parts) + "\n"


def markdown_table(header: Row, content: Sequence[Row]) -> str:
    sides = [":--" if name in WORDS else "--:" for name in header]
    marked = [
        [f"**{value}**" if value in ("slower", "faster") else escape_markdown(value) for value in row]
        for row in content
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, sides, *marked])

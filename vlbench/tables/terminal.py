"""Tables in a terminal, by rich."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from operator import is_not
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from vlbench.tables.markup import escape_terminal
from vlbench.tables.table import GAP, Table
from vlbench.tables.writers import to_text


def print_tables(tables: Iterable[Table], path: Path | None = None) -> None:
    """Prints tables, or writes them to a file without styles. Raises OSError if the file cannot be written."""
    console = Console()
    if path:
        path.write_text(to_text(tables), encoding="utf-8")
    elif console.is_terminal:
        console.print(to_terminal(tables, console.width))
    else:
        console.file.write(to_text(tables))


def to_terminal(tables: Iterable[Table], width: int | None = None) -> RenderableType:
    """For a terminal of `width` columns; None: of any width.

    A table that is too wide loses columns that it can do without, from the right, until it fits; if it is still too
    wide, all its columns become rows, and if that is too wide, each row becomes a few lines.
    """
    parts: list[RenderableType] = []
    for table in filter(None, tables):
        parts += [Text("")] if parts else []
        if table.caption and table.style is not None:
            parts.append(Text(escape_terminal(table.caption), style=table.style))
        parts += [_rows(table.without_empty(), width)] if table.rows else []
        if table.notes:
            notes = "\n".join(map(escape_terminal, table.notes))
            parts.append(Text(notes, style=table.notes_style, overflow="fold"))
    return Group(*parts)


def _rows(table: Table, width: int | None) -> RenderableType:
    table = table.keep(lambda column: column.shown != "files")
    narrower = _narrowed(table, width)
    lines = _lines(narrower)
    if _fits(lines, width) or any(column.wraps for column in narrower.columns):
        columns = narrower.columns
        return _grid(lines, [column.is_text for column in columns], [column.wraps for column in columns])
    turned = [list(row) for row in zip(*_lines(table), strict=True)]
    turned[0][0] = Text("")
    if _fits(turned, width):
        return _grid(turned, [True, *[False] * len(table.rows)], [False] * len(turned[0]))
    return Text("\n").join(_block(narrower, lines[0], line) for line in lines[1:])


def _narrowed(table: Table, width: int | None) -> Table:
    """Without as many of the columns that it can do without as make it fit, or without all of them."""
    spare = [column for column in table.columns if column.shown == "wide"]
    while spare and not _fits(_lines(table), width):
        table = table.keep(partial(is_not, spare.pop()))
    return table


def _lines(table: Table) -> list[list[Text]]:
    """The headings and the rows, styled."""
    rows = [
        [
            Text(escape_terminal(text), style=column.styles.get(text, ""))
            for column, text in zip(table.columns, row, strict=True)
        ]
        for row in table.texts
    ]
    return [[Text(escape_terminal(name)) for name in table.names], *rows]


def _fits(lines: Sequence[Sequence[Text]], width: int | None) -> bool:
    """Whether a terminal is as wide as a table, whose columns have two spaces between them."""
    widths = [max(text.cell_len for text in column) for column in zip(*lines, strict=True)]
    return width is None or sum(widths) + 2 * (len(widths) - 1) <= width


def _grid(lines: Sequence[Sequence[Text]], left: Sequence[bool], wraps: Sequence[bool]) -> Grid:
    grid = Grid(header_style="bold", box=None, pad_edge=False)
    for name, is_left, wrap in zip(lines[0], left, wraps, strict=True):
        grid.add_column(name, justify="left" if is_left else "right", no_wrap=not wrap, overflow="fold")
    for line in lines[1:]:
        grid.add_row(*line)
    return grid


def _block(table: Table, names: Sequence[Text], line: Sequence[Text]) -> Text:
    """A row as lines: the columns with styles, the first column, and below them every other value by its heading."""
    title, *others = zip(table.columns, names, line, strict=True)
    styled = [text for column, _, text in others if column.styles]
    for text in styled:
        text.pad_right(max(0, 8 - len(text)))
    plain = ((name, text) for column, name, text in others if not column.styles)
    detail = ", ".join(f"{name} {text}" for name, text in plain if text.plain not in ("", GAP))
    return Text.assemble(*styled, title[-1], f"\n    {detail}" if detail else "")

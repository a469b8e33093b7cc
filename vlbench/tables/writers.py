"""Tables as plain text, Markdown and LaTeX; plain values as CSV and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import add
from typing import TYPE_CHECKING, Any

from vlbench.tables.markup import bullets, comments, details, escape_csv, escape_latex, escape_markdown, escape_terminal
from vlbench.tables.table import GAP, Table, TableColumn

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import BaseModel

NUMBER = r"[-+]?\d[\d,]*(\.\d+)?%?"
NUMERIC = re.compile(rf"{NUMBER}( \[{NUMBER}, {NUMBER}\])?")  # `1,255 [1,118, 1,622]`
ROWS_OF_A_PIECE = 50_000
THOUSANDS = re.compile(r"(?<=\d),(?=\d)")


def to_text(tables: Iterable[Table]) -> str:
    """As a terminal of any width shows them, but without styles: for a file, a pipe, and commands without rich.

    rich takes seconds to lay out a table of thousands of rows.
    """
    return "\n".join("".join(f"{line.rstrip()}\n" for line in _text_lines(table)) for table in filter(None, tables))


def _text_lines(table: Table) -> Iterator[str]:
    escape = cache(escape_terminal)
    if table.caption and table.style is not None:
        yield escape(table.caption)
    if table.rows:
        shown = table.without_empty().keep(lambda column: column.shown != "files")
        lines = [list(map(escape, line)) for line in (shown.names, *shown.texts)]
        yield from map("  ".join, _padded(shown, lines))
    yield from map(escape, table.notes)


def _padded(table: Table, lines: Sequence[Sequence[str]], least: int = 0) -> list[tuple[str, ...]]:
    """Texts as wide as their columns, which are as wide as their headings and `least` more."""
    columns = zip(table.columns, zip(*lines, strict=True), strict=True)
    return list(zip(*(_padded_column(column, texts, least) for column, texts in columns), strict=True))


def _padded_column(column: TableColumn[Any], texts: Sequence[str], least: int) -> list[str]:
    widths = list(map(_width, texts))
    widest = max(widths[0] + least, *widths)
    spaces = [" " * (widest - width) for width in widths]
    return list(map(add, texts, spaces) if column.is_text else map(add, spaces, texts))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415  slow to import

    return cell_len(text)


def to_markdown(tables: Iterable[Table]) -> str:
    return "\n\n".join(map(_markdown, filter(None, tables))) + "\n"


def _markdown(table: Table) -> str:
    body = [_pipes(table.without_empty())] if table.rows else []
    body += [bullets(table.notes)] if table.notes else []
    if table.folded:
        return details(table.caption, "\n\n".join(body))
    caption = escape_markdown(table.caption)
    return "\n\n".join([*([table.heading.format(caption)] if caption and table.heading else []), *body])


def _pipes(table: Table) -> str:
    lines = [list(map(escape_markdown, table.names)), *_cells(table, _markdown_cell)]
    head, *rows = _padded(table, lines, least=2)
    rules = [f"{'-' * (len(name) + 1)}" for name in head]
    sides = [f":{rule}" if column.is_text else f"{rule}:" for column, rule in zip(table.columns, rules, strict=True)]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'|'.join(sides)}|", *(f"| {' | '.join(row)} |" for row in rows)])


def _markdown_cell(column: TableColumn[Any], text: str) -> str:
    if text == GAP or (not column.is_text and NUMERIC.fullmatch(text)):
        return text
    bold = "**" if column.styles.get(text, "").startswith("bold") else ""
    return f"{bold}{escape_markdown(text)}{bold}"


def to_latex(tables: Iterable[Table]) -> str:
    """Tables with the rules of booktabs. Notes are comments, and so is the caption of a table without a label."""
    return "\n".join([comments([r"needs \usepackage{booktabs}"]), *map(_latex, filter(None, tables))]) + "\n"


def _latex(table: Table) -> str:
    parts = [_tabular(table.without_empty())] if table.rows else []
    if table.label:
        caption = f"\\caption{{{escape_latex(table.caption)}}}\n\\label{{tab:{table.label}}}"
        parts = [f"\\begin{{table}}\n\\centering\n{caption}\n{''.join(parts)}\\end{{table}}"]
    elif table.caption:
        parts.insert(0, comments([table.caption]))
    return "\n".join([*parts, *([comments(table.notes)] if table.notes else [])])


def _tabular(table: Table) -> str:
    heads = [escape_latex(column.latex or re.sub(r" %$", " (%)", column.name)) for column in table.columns]
    head, *rows = [" & ".join(line) + r" \\" for line in (heads, *_cells(table, _latex_cell))]
    alignment = "".join("l" if column.is_text else "r" for column in table.columns)
    body = "\n".join([r"\toprule", head, r"\midrule", *rows, r"\bottomrule"])
    return f"\\begin{{tabular}}{{{alignment}}}\n{body}\n\\end{{tabular}}\n"


def _latex_cell(column: TableColumn[Any], text: str) -> str:
    """A number has a true minus, thin spaces between thousands, and its interval."""
    if text == GAP:
        return "--"
    if column.is_text or not NUMERIC.fullmatch(text):
        return escape_latex(text)
    value, _, interval = THOUSANDS.sub(r"\,", text).replace("%", r"\%").partition(" [")
    return f"${value}\\,[{interval}$" if interval else f"${value}$"


def _cells(table: Table, write: Any) -> list[list[str]]:
    return [[write(column, text) for column, text in zip(table.columns, row, strict=True)] for row in table.texts]


def to_csv(records: Iterable[Mapping[str, Any]]) -> str:
    """Plain values under the keys of the records, nested ones as `machine.cpu`; samples are left out."""
    import pandas as pd  # noqa: PLC0415  slow to import

    frame = pd.DataFrame([dict(_flattened(record)) for record in records])
    return frame_to_csv(frame.convert_dtypes())  # whole numbers stay whole next to gaps


def frame_to_csv(frame: pd.DataFrame) -> str:
    """Its headings and values; texts are escaped, other values stay what they are."""
    return "".join(csv_pieces(frame))


def csv_pieces(frame: pd.DataFrame) -> Iterator[str]:
    """The same in pieces, so that the text of a million rows is never in memory."""
    escape = cache(escape_csv)
    for start in range(0, max(len(frame), 1), ROWS_OF_A_PIECE):
        escaped = frame.iloc[start : start + ROWS_OF_A_PIECE].rename(columns=escape)
        for name, column in escaped.items():
            if column.dtype.kind == "O":
                escaped[name] = column.map(lambda value: escape(value) if isinstance(value, str) else value)
        yield escaped.to_csv(index=False, header=not start)


def _flattened(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        elif key == "ci95":
            yield from zip((f"{prefix}ci95_low", f"{prefix}ci95_high"), value or (None, None), strict=True)
        elif key != "by_restart":
            yield f"{prefix}{key}", value


def to_json(content: Any) -> str:
    """Raises ValueError for a number that JSON does not have."""
    return _without_delete(json.dumps(content, indent=1, allow_nan=False)) + "\n"


def _without_delete(text: str) -> str:
    """DEL is ASCII, but a control character of terminals."""
    return text.replace("\x7f", r"\u007f")


def model_to_json(model: BaseModel) -> str:
    """As `to_json`, of a model's fields under their aliases; a number that JSON does not have is null."""
    text = model.model_dump_json(by_alias=True, indent=1, ensure_ascii=True)
    return _without_delete(text) + "\n"


WRITERS = {"markdown": to_markdown, "latex": to_latex}

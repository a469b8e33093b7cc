"""A table of typed values whose columns know how they are written, with a caption and notes.

A command makes a sequence of tables; `terminal` and `writers` write them. A table without columns is a heading, or a
block of notes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import pandas as pd

GAP = "-"
Item = TypeVar("Item")


@dataclass(frozen=True)  # not with slots, for then Python 3.11 cannot make a `TableColumn[Item](...)`
class TableColumn(Generic[Item]):
    """A column: its heading, the value that an item has in it, and how that is written.

    Attributes:
        name: the heading, with the unit.
        get: an item's value; None is a gap.
        write: the text of a value. None: values are text, aligned left; all others are aligned right.
        latex: the heading in LaTeX, if it differs.
        styles: rich styles of certain texts. What is bold in a terminal is bold in Markdown.
        wraps: whether a terminal folds long text.
        shown: `wide`: not in a terminal that is too narrow for the table; `files`: in no terminal.
    """

    name: str
    get: Callable[[Item], Any]
    write: Callable[[Any], str] | None = None
    _: KW_ONLY
    latex: str = ""
    styles: Mapping[str, str] = field(default_factory=dict)
    wraps: bool = False
    shown: Literal["always", "wide", "files"] = "always"

    @property
    def is_text(self) -> bool:
        return self.write is None

    def text(self, value: Any) -> str:
        return GAP if value is None else (self.write or str)(value)

    def of(self, pick: Callable[[Any], Item | None]) -> TableColumn[Any]:
        """The same column for items that hold the one it describes; a gap if they hold None."""
        return replace(self, get=lambda outer: None if (item := pick(outer)) is None else self.get(item))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A caption, rows of typed values, and notes; each may be empty.

    Attributes:
        style: rich style of the caption in a terminal, which does not show it if this is None.
        notes_style: rich style of the notes in a terminal.
        heading: the caption in Markdown; `{}` stands for its text. Empty: Markdown does not show it.
        folded: whether Markdown shows only the caption until it is clicked on.
        label: in LaTeX the table is a float with this label and its caption; without one, a plain tabular.
    """

    columns: tuple[TableColumn[Any], ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    caption: str = ""
    notes: tuple[str, ...] = ()
    style: str | None = "italic"
    notes_style: str = "dim"
    heading: str = "{}"
    folded: bool = False
    label: str = ""

    @classmethod
    def of(cls, columns: Iterable[TableColumn[Item]], items: Iterable[Item], **options: Any) -> Table:
        """One row per item."""
        columns = tuple(columns)
        return cls(
            columns=columns, rows=tuple(tuple(column.get(item) for column in columns) for item in items), **options
        )

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.caption or self.rows or self.notes)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def texts(self) -> list[list[str]]:
        """Every value as it is written."""
        return [[column.text(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]

    @property
    def frame(self) -> pd.DataFrame:
        """The typed values."""
        import pandas as pd  # noqa: PLC0415  slow to import

        return pd.DataFrame(list(self.rows), columns=self.names, dtype=object)

    def keep(self, is_kept: Callable[[TableColumn[Any]], bool]) -> Table:
        """With these columns alone."""
        kept = [index for index, column in enumerate(self.columns) if is_kept(column)]
        rows = tuple(tuple(row[index] for index in kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[index] for index in kept), rows=rows)

    def without_empty(self) -> Table:
        """Without the columns that have no value in any row."""
        filled = {
            column.name
            for column, *values in zip(self.columns, *self.rows, strict=True)
            if any(value is not None and value != "" for value in values)
        }
        return self.keep(lambda column: column.name in filled)

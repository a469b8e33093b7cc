"""The progress bars of every command."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from vlbench.tables.markup import escape_terminal


class WordsColumn(TextColumn):
    """Text that is neither rich's markup nor a command to the terminal."""

    def render(self, task: Task) -> Text:
        return Text(escape_terminal(self.text_format.format(task=task)))


def progress_bars(
    *columns: str | ProgressColumn,
    shown: bool = True,
    console: Console | None = None,
    redraws: bool = False,
    transient: bool = False,
) -> Progress:
    """Bars with a description before and `columns` after each.

    Args:
        shown: False draws nothing.
        console: by default standard error.
        redraws: by a thread, ten times a second; otherwise only an update with `refresh=True` draws.
        transient: the bars vanish at the end.
    """
    columns = ("{task.description}", BarColumn(), *columns)
    return Progress(
        *(WordsColumn(column) if isinstance(column, str) else column for column in columns),
        console=console or Console(stderr=True),
        disable=not shown,
        auto_refresh=redraws,
        transient=transient,
    )


def print_above(bars: Progress, line: str) -> None:
    """Prints a line above the bars."""
    bars.console.print(Text(escape_terminal(line)), soft_wrap=True)

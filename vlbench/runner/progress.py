"""The progress bars of every command."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn


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
    return Progress(
        "{task.description}",
        BarColumn(),
        *columns,
        console=console or Console(stderr=True),
        disable=not shown,
        auto_refresh=redraws,
        transient=transient,
    )

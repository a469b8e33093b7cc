"""Training as it goes, on standard error: a bar a model on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from vlbench.training.budget import duration
from vlbench.training.listening import Listener, State

LINE_SECONDS = 10.0


class Display:
    """Bars on a terminal, lines elsewhere; nothing where it is not shown.

    Args:
        console: of standard error.
    """

    def __init__(self, console: Console, *, shown: bool) -> None:
        self.shown, self.lines = shown, not console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}"),
        )
        self.bars = Progress(*columns, console=console, disable=self.lines or not shown, auto_refresh=False)
        self.told_at = 0.0

    def listener(self, name: str) -> Listener:
        """For the training of one model, or of a part of it: `vilt-b32: training`. It adds a bar."""
        bar = None if self.bars.disable else self.bars.add_task(name, total=1.0, words="")

        def watch(state: State) -> None:
            if bar is not None:
                self.bars.update(bar, completed=state.share, words=in_words(state), refresh=True)
            elif self.shown and (state.share >= 1 or time.monotonic() - self.told_at >= LINE_SECONDS):
                self.told_at = time.monotonic()
                print(f"{name}: {state.share:.0%}, {in_words(state)}", file=sys.stderr, flush=True)

        def say(line: str) -> None:
            if bar is not None:
                self.bars.console.print(f"{name}: {line}", soft_wrap=True, markup=False, highlight=False)
            elif self.shown:
                print(f"{name}: {line}", file=sys.stderr, flush=True)

        return Listener(watch=watch, say=say)


@contextmanager
def training_display(*, shown: bool = True, console: Console | None = None) -> Iterator[Display]:
    """Shows the training of all models of one command, one under the other.

    Args:
        shown: by the first of several processes alone.
        console: where; standard error unless it is given.
    """
    display = Display(console or Console(stderr=True), shown=shown)
    with display.bars:
        yield display


def in_words(state: State) -> str:
    """`128,000 samples, loss 1.234, accuracy 61.2%, 340 samples/s, 6 min left`"""
    parts = [f"{state.spent.samples:,} samples"]
    if state.loss is not None:
        parts.append(f"loss {state.loss:.4g}")
    if state.accuracy is not None:
        parts.append(f"accuracy {state.accuracy:.1%}")
    if state.samples_per_second is not None:
        parts.append(f"{state.samples_per_second:,.0f} samples/s")
    if state.share >= 1:
        parts.append(f"{duration(state.spent.seconds)} in all")
    elif state.seconds_left is not None:
        parts.append(f"{duration(state.seconds_left)} left")
    return ", ".join(parts)

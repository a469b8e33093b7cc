"""Training progress: who is notified, and what is shown on standard error, a bar per model on a terminal, a line now
and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from vlbench.training.budget import Budget, Spent, duration


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How training stands; `loss` and `accuracy` are of the latest samples of one process.

    Attributes:
        share: of the budget, 0 to 1.
        samples_per_second, seconds_left: of this attempt; None until they are known.
    """

    share: float
    spent: Spent
    loss: float | None
    accuracy: float | None
    samples_per_second: float | None
    seconds_left: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingListener:
    """The first process tells: `watch`, how it stands, about twice a second; `say`, a line that a user should know."""

    watch: Callable[[State], None] = lambda _state: None
    say: Callable[[str], None] = lambda _line: None


class Clock:
    """Seconds of training, earlier attempts included, and of this attempt's pace."""

    def __init__(self, before: Spent, budget: Budget) -> None:
        self.before, self.budget = before, budget
        self.started = time.perf_counter() - before.seconds
        self.kept_at = self.watched_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def since_kept(self) -> float:
        return time.perf_counter() - self.kept_at

    def to_watch(self, every_seconds: float) -> bool:
        """Whether so long has passed since it last said so."""
        now = time.perf_counter()
        if now - self.watched_at < every_seconds:
            return False
        self.watched_at = now
        return True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens meanwhile, a checkpoint being written, is no training."""
        since = time.perf_counter()
        yield
        self.kept_at = time.perf_counter()
        self.started += self.kept_at - since

    def state(self, spent: Spent, loss: float | None, accuracy: float | None) -> State:
        share, seconds = self.budget.share(spent), spent.seconds - self.before.seconds
        gained = share - self.budget.share(self.before)
        return State(
            share=share,
            spent=spent,
            loss=loss,
            accuracy=accuracy,
            samples_per_second=(spent.samples - self.before.samples) / seconds if seconds > 0 else None,
            seconds_left=(1 - share) * seconds / gained if gained > 0 else None,
        )


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

    def listener(self, name: str) -> TrainingListener:
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

        return TrainingListener(watch=watch, say=say)


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

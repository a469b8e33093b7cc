"""Training progress: the listeners that get it, and its display on standard error, one bar per model on a terminal and
a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import TaskProgressColumn

from vlbench.runner.progress import print_above, progress_bars
from vlbench.system.console import print_message
from vlbench.training.budget import Budget, Spent, duration


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far training is; `loss` and `accuracy` are those of one process since the last point of the curve.

    Attributes:
        share: of the budget, 0 to 1.
        samples_per_second, seconds_left, waiting_share: from this attempt alone; None until they are known. The last
            is the share of its time spent waiting for data.
    """

    share: float
    spent: Spent
    loss: float | None
    accuracy: float | None
    samples_per_second: float | None
    seconds_left: float | None
    waiting_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingListener:
    """Callbacks of the first process.

    Attributes:
        on_progress: called about twice a second.
        on_message: called with lines that a user should know.
    """

    on_progress: Callable[[TrainingProgress], None] = lambda _progress: None
    on_message: Callable[[str], None] = lambda _message: None


class TrainingClock:
    """Measures the seconds of training, earlier attempts included, and the pace of this attempt.

    Args:
        before: what earlier attempts spent.
    """

    def __init__(self, before: Spent, budget: Budget) -> None:
        self.before, self.budget = before, budget
        self.started = time.perf_counter() - before.seconds
        self.last_checkpoint = self.last_report = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started

    @property
    def seconds_since_checkpoint(self) -> float:
        return time.perf_counter() - self.last_checkpoint

    def report_due(self, every_seconds: float) -> bool:
        """Whether this much time has passed since it was last true."""
        now = time.perf_counter()
        if now - self.last_report < every_seconds:
            return False
        self.last_report = now
        return True

    @contextmanager
    def paused_for_checkpoint(self) -> Iterator[None]:
        """Time within the context does not count as training."""
        pause_started = time.perf_counter()
        yield
        self.last_checkpoint = time.perf_counter()
        self.started += self.last_checkpoint - pause_started

    def progress(self, spent: Spent, loss: float | None, accuracy: float | None) -> TrainingProgress:
        share, seconds = self.budget.share(spent), spent.seconds - self.before.seconds
        share_gained = share - self.budget.share(self.before)
        waited = (spent.waiting_seconds or 0.0) - (self.before.waiting_seconds or 0.0)
        return TrainingProgress(
            share=share,
            spent=spent,
            loss=loss,
            accuracy=accuracy,
            samples_per_second=(spent.samples - self.before.samples) / seconds if seconds > 0 else None,
            seconds_left=(1 - share) * seconds / share_gained if share_gained > 0 else None,
            waiting_share=min(1.0, waited / seconds) if seconds > 0 and spent.waiting_seconds is not None else None,
        )


LINE_SECONDS = 10.0  # between two lines, where there is no terminal


class TrainingDisplay:
    """Bars on a terminal, lines elsewhere.

    Args:
        console: of standard error.
        shown: False shows nothing.
    """

    def __init__(self, console: Console, *, shown: bool) -> None:
        self.shown, self.lines = shown, not console.is_terminal
        self.bars = progress_bars(
            TaskProgressColumn(), "{task.fields[words]}", console=console, shown=shown and not self.lines
        )
        self.printed_at = 0.0

    def listener(self, name: str) -> TrainingListener:
        """Shows the training of one model, or a phase of it such as `uniter-base: detector`, in a bar of its own."""
        bar = None if self.bars.disable else self.bars.add_task(name, total=1.0, words="")

        def on_progress(progress: TrainingProgress) -> None:
            if bar is not None:
                self.bars.update(bar, completed=progress.share, words=in_words(progress), refresh=True)
            elif self.shown and (progress.share >= 1 or time.monotonic() - self.printed_at >= LINE_SECONDS):
                self.printed_at = time.monotonic()
                print_message(f"{name}: {progress.share:.0%}, {in_words(progress)}")

        def on_message(message: str) -> None:
            if bar is not None:
                print_above(self.bars, f"{name}: {message}")
            elif self.shown:
                print_message(f"{name}: {message}")

        return TrainingListener(on_progress=on_progress, on_message=on_message)


@contextmanager
def training_display(*, shown: bool = True, console: Console | None = None) -> Iterator[TrainingDisplay]:
    """Shows the training of all models of a command, one below the other.

    Args:
        shown: False in all processes but the first.
        console: by default standard error.
    """
    display = TrainingDisplay(console or Console(stderr=True), shown=shown)
    with display.bars:
        yield display


def in_words(progress: TrainingProgress) -> str:
    """`128,000 samples, loss 1.234, accuracy 61.2%, 340 samples/s, 2% waiting for data, 6 min left`"""
    parts = [f"{progress.spent.samples:,} samples"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4g}")
    if progress.accuracy is not None:
        parts.append(f"accuracy {progress.accuracy:.1%}")
    if progress.samples_per_second is not None:
        parts.append(f"{progress.samples_per_second:,.0f} samples/s")
    if progress.waiting_share is not None:
        parts.append(f"{progress.waiting_share:.0%} waiting for data")
    if progress.share >= 1:
        parts.append(f"{duration(progress.spent.seconds)} in all")
    elif progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)

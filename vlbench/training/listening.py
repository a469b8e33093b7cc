"""Who is told how training stands, and what."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from vlbench.training.budget import Budget, Spent


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
class Listener:
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

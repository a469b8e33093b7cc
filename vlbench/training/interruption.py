"""Ctrl-C while something is trained: the step is finished, what was learnt is kept, then it ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SAME_SECONDS = 2.0  # torchrun passes on a Ctrl-C that its processes have had from the terminal, too


class Interrupted(KeyboardInterrupt):
    """Training was interrupted and can go on. The message says what is kept, and where."""

    def __init__(self, folder: Path, samples: int) -> None:
        super().__init__(f"the training of {samples:,} samples is kept in {folder}")
        self.folder, self.samples = folder, samples


class Stop:
    """Whether the user asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        self.at = 0.0

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """A second time, some seconds later, means at once: the checkpoint before is what is kept."""
        now = time.monotonic()
        if self.asked and now - self.at > SAME_SECONDS:
            raise KeyboardInterrupt
        self.asked, self.at = True, now


@contextmanager
def stopping() -> Iterator[Stop]:
    """While this lasts Ctrl-C asks for an end instead of being one. In a thread of a program it changes nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

"""Signals that end a command: Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalExit(SystemExit):
    """A signal ends the command. The message names it, and the code is the one that shells expect."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number)

    def __str__(self) -> str:
        return "interrupted" if self.signal == signal.SIGINT else f"ended by {self.signal.name}"


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Within the context, SIGTERM and SIGHUP raise SignalExit, so that workers end and temporary folders are removed.

    A signal that is ignored, as SIGHUP under nohup, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _raise_exit)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SignalExit(number)


def ignore_signals() -> None:
    """For a process that is about to end anyway."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Within the context, signals that end the process wait, so that it is not left halfway. Threads other than the
    main one receive none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {number: signal.signal(number, lambda signum, _: received.append(signum)) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])

"""Calls a function in a fresh process that ends with it, while this one blocks."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from vlbench.errors import WorkerError

T = TypeVar("T")


def call_in_fresh_process(function: Callable[..., T], *arguments: Any) -> T:
    """The function's result from a process of its own; function, arguments and result must be picklable.

    On Linux the process is forked: what the caller has imported is there at once, and the caller must not have computed
    with threads before. Elsewhere it is spawned.

    Raises:
        WorkerError: the process ended without a result, or the function raised; with its reason.
    """
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        raise WorkerError(f"a measuring process ended without a result, exit code {process.exitcode}") from None
    finally:
        receiver.close()
    process.join()
    if error is not None:
        raise WorkerError(f"a measuring process failed: {error}")
    return result


def _answer(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sender.send((function(*arguments), None))
    except Exception as error:  # the caller is told, whatever it was
        sender.send((None, f"{type(error).__name__}: {error}"))

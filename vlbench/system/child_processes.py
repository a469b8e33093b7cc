"""Child processes: what they inherit from this process, and that they end with it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NoReturn

LONGEST_SOCKET_FOLDER = 75  # bytes; a socket's path has 107, with the names that multiprocessing makes
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before a fork, after which locks may be held


def child_environment() -> dict[str, str]:
    """The environment of this process, without the variables by which a git hook ties git to one repository and index.

    With them, git commands for another work tree would write to the index that is being committed.
    """
    environment = dict(os.environ)
    if any(name.startswith("GIT_") for name in environment):
        for name in _repository_variables():
            environment.pop(name, None)
    return environment


@cache
def _repository_variables() -> tuple[str, ...]:
    """The names that git itself lists, and the one by which a receiving hook forbids changes of references."""
    try:
        process = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=False)
    except OSError:
        return ()  # without git, nothing reads them
    return (*process.stdout.split(), "GIT_QUARANTINE_PATH")


def die_with_parent() -> None:
    """Has the kernel end this process when its parent ends, even by kill -9 (Linux: prctl(2), PR_SET_PDEATHSIG)."""
    if LIBC:
        LIBC.prctl(1, signal.SIGKILL)


def _end_process(*_error: object) -> NoReturn:
    """Ends a process that cannot send a batch, as without open files, so that its parent does not wait for it."""
    os._exit(1)


def allow_open_files() -> None:
    """Raises the limit of open files as far as the system allows: each tensor on its way to another process is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS has a limit of its own below the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve_parent(folder: Path, _number: int) -> None:
    """Prepares this process for serving its parent, which alone ends it: a terminal's Ctrl-C and hang-up reach both.

    Args:
        folder: of the parent, for temporary files, which this process cannot remove if it is killed.
    """
    die_with_parent()
    Queue._on_queue_feeder_error = staticmethod(_end_process)  # type: ignore[attr-defined]
    sys.excepthook = _end_process
    if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
        tempfile.tempdir = str(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

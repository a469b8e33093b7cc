"""Errors that the command line prints as one line: bad input (exit code 2) and a worker that failed (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input. The message says where, what is wrong, and what would work."""


class SpecError(InputError):
    """A model or suite file that does not describe something vlbench can build."""


class WorkerError(Exception):
    """A measuring process ended without a result; the message is the reason."""


class HeadError(WorkerError):
    """Of two compared versions, the new one cannot be measured while the old one can."""


def nearest(word: str, known: Iterable[str], *, amount: int = 1) -> str:
    """For the end of a message: `did you mean X?`, or all known words where none is similar."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=amount, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"

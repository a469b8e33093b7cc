"""Errors that the command line prints as one line: bad input (exit code 2) and a worker that failed (exit code 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_WORD, LONGEST_LIST = 60, 150  # characters of a word, or of a list of words, that a message echoes


class InputError(Exception):
    """Bad input. The message says where, what is wrong, and what would work."""


class SpecError(InputError):
    """A model or suite file that does not describe something vlbench can build."""


class WorkerError(Exception):
    """A measuring process ended without a result; the message is the reason."""


class HeadError(WorkerError):
    """Of two compared versions, the new one cannot be measured while the old one can."""


def nearest(word: str, known: Iterable[str], *, amount: int = 1) -> str:
    """For the end of a message: `did you mean X?`, or the known words, as far as they fit, where none is similar."""
    known = sorted(known)
    close = difflib.get_close_matches(word[:LONGEST_WORD], known, n=amount, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    listed = ", ".join(known)
    if len(listed) > LONGEST_LIST:
        listed = f"{listed[:LONGEST_LIST].rpartition(',')[0]}, ..."
    return f"known: {listed}"


def shortened(text: str, longest: int = LONGEST_WORD) -> str:
    """The text, or its start and three dots, if it is longer than this."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def quoted(value: object) -> str:
    """An external value as a message echoes it: in one short line, without control characters."""
    return shortened(repr(value[: 2 * LONGEST_WORD] if isinstance(value, str) else value))

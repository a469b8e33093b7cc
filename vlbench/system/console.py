"""Standard output and standard error: streams that take any text, and messages of one line."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

from vlbench.tables.markup import escape_terminal, one_line, visible

LONGEST = 300  # characters of an error
CUT = " ... "
PLAIN = {"±": "+-", "×": "x", "µ": "u", "·": "-", "—": "-", "→": "->", "≤": "<=", "≥": ">=", "…": "..."}  # noqa: RUF001
PLAIN_SIGNS = "vlbench.plain_signs"


def error_line(text: str) -> str:
    """One line of at most 300 visible characters. The middle is left out: an error begins with where it is, and ends
    with what would work."""
    line = escape_terminal(one_line(text))
    kept = LONGEST - len(CUT)
    return line if len(line) <= LONGEST else f"{line[: kept - kept // 2]}{CUT}{line[-(kept // 2) :]}"


def print_message(text: str) -> None:
    """Prints a line for the user on standard error."""
    print(escape_terminal(one_line(text)), file=sys.stderr, flush=True)


def print_error(text: str) -> None:
    """Prints an error or a warning on standard error, after the name of the program."""
    print(error_line(f"vlbench: {text}"), file=sys.stderr, flush=True)


def print_python_warning(message: Warning | str, *_location: Any, **_source: Any) -> None:
    """Takes the place of `warnings.showwarning`, whose two lines name a file and its code."""
    print_error(f"warning: {message}")


def reserve_descriptors() -> None:
    """Opens those of standard input, output and error that are closed, as cron and daemons close them; otherwise the
    next pipe or file would take their numbers, and what is printed would go into it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def prepare_streams() -> None:
    """Makes standard output and standard error take any text, whatever the encoding of the terminal, also where they
    were closed before the start. What cannot be written to standard error is dropped, so that a full disk or a reader
    that has gone ends no measurement."""
    reserve_descriptors()
    codecs.register_error(PLAIN_SIGNS, _plain_signs)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  open until the end
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=PLAIN_SIGNS)
    if sys.stderr is sys.__stderr__:  # else somebody has replaced it
        raw = io.BufferedWriter(_LossyFile(2, "w", closefd=False))
        encoding = getattr(sys.stderr, "encoding", "utf-8")
        sys.stderr = io.TextIOWrapper(raw, encoding=encoding, errors=PLAIN_SIGNS, line_buffering=True)


@contextmanager
def silenced() -> Iterator[None]:
    """Drops what libraries print meanwhile."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def discard_output() -> None:
    """Writes what standard output holds, or drops it if that fails, and drops all that is printed from now on."""
    with suppress(OSError):
        sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


class _LossyFile(io.FileIO):
    """A file that drops what it cannot write."""

    def write(self, content: Any, /) -> int:
        try:
            written = super().write(content)
        except OSError:
            written = None
        return memoryview(content).nbytes if written is None else written


def _plain_signs(error: UnicodeError) -> tuple[str, int]:
    """An error handler of `codecs`: `+-` for ±, and otherwise an escape such as `\\u4e2d`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = visible(error.object[error.start : error.end])
    return "".join(PLAIN.get(sign, sign) for sign in signs).encode("ascii", "backslashreplace").decode(), error.end

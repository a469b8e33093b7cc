"""Regular files of bounded size, and text in UTF-8 with or without a byte order mark."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from vlbench.errors import InputError

MOST_BYTES = 4 << 30  # VQA v2's annotations have 350 MB; checkpoints are mapped rather than read
MOST_LINE_BYTES = 64 << 20  # a line of results with many samples has a tenth of a mebibyte
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_regular(path: Path, *, option: str = "", most_bytes: int = MOST_BYTES) -> None:
    """Raises InputError if the path is no regular file that can be read, or the file is too large.

    Args:
        option: begins the message, before the path, such as "--image ".
    """
    where = f"{option}{path}"
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{where}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: the path holds a NUL or a lone surrogate
        raise InputError(f"{where}: cannot be read: {_reason(error)}") from error
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise InputError(f"{where}: is {KINDS.get(kind, 'something else')}, not a file")
    if status.st_size > most_bytes:
        raise InputError(f"{where}: {status.st_size:,} bytes; up to {most_bytes:,} work")
    if not os.access(path, os.R_OK):
        raise InputError(f"{where}: cannot be read: Permission denied")


def read_bytes(path: Path, *, option: str = "", most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a regular file. Raises InputError as `check_regular` does."""
    check_regular(path, option=option, most_bytes=most_bytes)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)  # a file in /proc has more than its size says
    except (OSError, MemoryError) as error:
        raise InputError(f"{option}{path}: cannot be read: {_reason(error)}") from error
    if len(content) > most_bytes:
        raise InputError(f"{option}{path}: more than {most_bytes:,} bytes")
    return content


def read_byte_lines(path: Path, *, option: str = "") -> Iterator[tuple[int, bytes]]:
    r"""The number and the bytes of each line that is not blank, one line in memory at a time; lines end with \n alone.

    Raises InputError as `check_regular` does, and if a line is longer than `MOST_LINE_BYTES`.
    """
    check_regular(path, option=option)
    try:
        with path.open("rb") as file:
            for number in count(1):
                line = file.readline(MOST_LINE_BYTES + 1)
                if not line:
                    return
                if len(line) > MOST_LINE_BYTES:
                    raise InputError(f"{option}{path} line {number}: longer than {MOST_LINE_BYTES:,} bytes")
                if content := line.removeprefix(BYTE_ORDER_MARK if number == 1 else b"").strip():
                    yield number, content
    except OSError as error:
        raise InputError(f"{option}{path}: cannot be read: {_reason(error)}") from error


def read_text(path: Path, *, option: str = "", most_bytes: int = MOST_BYTES) -> str:
    """Text in UTF-8; a byte order mark at its start is dropped.

    Raises InputError as `check_regular` does, and if the file is not text in UTF-8.
    """
    content = read_bytes(path, option=option, most_bytes=most_bytes).removeprefix(BYTE_ORDER_MARK)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{option}{path}: line {line} is not text in UTF-8 (byte 0x{content[error.start]:02x}); convert the file"
        ) from error


def read_lines(path: Path, *, option: str = "") -> list[str]:
    r"""The lines of a text, which end with \n or \r\n alone: U+2028, U+0085 and others belong to a line's text.

    Raises InputError as `read_text` does.
    """
    return split_lines(read_text(path, option=option))


def split_lines(text: str) -> list[str]:
    r"""As `read_lines`, of a text; a last \n begins no line."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def check_text(text: str, where: str) -> None:
    """Raises InputError if a text cannot be written as UTF-8, or holds a NUL."""
    if "\0" in text:
        raise InputError(f"{where}: holds a NUL character; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: not text in UTF-8 (character {error.start + 1}); convert it to UTF-8") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__

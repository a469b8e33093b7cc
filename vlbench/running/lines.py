"""Lines of a file that are there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import BinaryIO


def append_line(file: BinaryIO, line: str) -> None:
    """Adds a line to a file opened unbuffered for appending, and waits until it is on the disk.

    Raises OSError, with the file's name, where that fails; the file is then as it was before.
    """
    content = line.encode() + b"\n"
    before = os.fstat(file.fileno()).st_size
    try:
        written = 0
        while written < len(content):
            written += os.write(file.fileno(), content[written:])
        os.fsync(file.fileno())
    except OSError as error:
        os.ftruncate(file.fileno(), before)
        raise OSError(error.errno, error.strerror, file.name) from error


def cut_off_fragment(path: Path) -> Path | None:
    """Moves a last line without an end, which a power cut or a full disk leaves, to a file beside it, and names that.

    A line that lacks nothing but its end gets it. None where there is nothing to mend.
    """
    content = path.read_bytes() if path.is_file() else b""
    if not content or content.endswith(b"\n"):
        return None
    whole, _, fragment = content.rpartition(b"\n")
    try:
        json.loads(fragment)
    except ValueError:
        aside = path.with_name(path.name + ".cut-off")
        with aside.open("ab", buffering=0) as file:
            append_line(file, fragment.decode(errors="replace"))
        os.truncate(path, len(whole) + 1 if whole else 0)
        return aside
    with path.open("ab", buffering=0) as file:
        append_line(file, "")
    return None

"""Files that others read while they are written: each is there completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished"  # ends the name of a file that is not complete yet


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to. At the end that file takes the place of `path`, once it is on the disk.

    If the block raises, or the process is killed, `path` is as it was. What is no regular file, such as a pipe or
    /dev/stdout, is written in place. Raises OSError, which names `path`.
    """
    if path.exists() and not path.is_file():
        with _naming(path, path):
            yield path
        return
    target = path.resolve()  # a link stays a link
    unfinished = target.with_name(f"{target.name}{UNFINISHED}")
    try:
        with _naming(path, unfinished):
            yield unfinished
            _wait_for_disk(unfinished)
            os.replace(unfinished, target)
            _wait_for_disk(target.parent)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def _naming(path: Path, written: Path) -> Iterator[None]:
    """Has an OSError name the file that was to be there: those of a full disk name none."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(written)):
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes text in UTF-8 to a file that is complete or not there. Raises OSError."""
    write_pieces(path, [text])


def write_pieces(path: Path, pieces: Iterable[str]) -> None:
    """The same, of text that comes in pieces."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.writelines(pieces)


def _wait_for_disk(path: Path) -> None:
    """Waits until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

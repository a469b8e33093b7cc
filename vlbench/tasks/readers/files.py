"""Finds the files of data sets under the names that their publishers gave them, and within their folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from vlbench.errors import InputError, quoted

FOLDERS = ("", "annotations", "questions", "data")


class MissingFileError(InputError):
    """A file does not exist, rather than being damaged."""


def find_file(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these files that exists in the folder or in one of FOLDERS within it.

    Raises MissingFileError if none does.
    """
    if not os.path.isdir(folder):
        raise MissingFileError(f"--data {folder}: no such folder")
    for name in names:
        for subfolder in FOLDERS:
            path = folder / subfolder / name
            if path.exists():
                return path
    raise MissingFileError(f"--data {folder}: holds no {' or '.join(names)}")


def find_folder(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of these folders that exists; the first of all if none does, so that an error can name it."""
    return next((folder / name for name in names if (folder / name).is_dir()), folder / names[0])


def path_within(folder: Path, name: str, where: str) -> Path:
    """The path of a file that a data set names. Raises InputError if it would lie outside the folder.

    Args:
        where: begins the error.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise InputError(f"{where}: {quoted(name)} is not the path of a file within the data set's folder")
    return folder / name

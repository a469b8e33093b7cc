"""Comma-separated values (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from vlbench.errors import InputError
from vlbench.files.text import read_text


def read_csv_rows(path: Path, *, option: str = "") -> Iterator[tuple[int, list[str]]]:
    """The line number and the fields of each row that is not blank.

    Raises InputError if the file is not text, a quotation does not end, or a field has more than 131,072 characters.
    """
    rows = csv.reader(io.StringIO(read_text(path, option=option), newline=""), strict=True)
    while True:
        number = rows.line_num + 1
        try:
            fields = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{option}{path} line {number}: not CSV: {error}") from error
        if fields:
            yield number, fields

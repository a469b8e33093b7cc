"""JSON and JSON lines (RFC 8259): bounded depth, numbers in range, and no lone surrogates."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from vlbench.errors import InputError, shortened
from vlbench.files.text import BYTE_ORDER_MARK, read_byte_lines, read_bytes

MAY_BE_OUT_OF_RANGE = re.compile(rb"(?<![.\d])\d{19}|\d[eE]\+?\d{3}")
REASONS = {
    "recursion limit exceeded": "nested more than 200 deep",
    "number out of range": "a number has thousands of digits",
}
NOT_NUMBERS = re.compile(rb"[:,\[]\s*(NaN|-?Infinity)")


def parse_json(content: bytes, where: str, *, any_number: bool = False) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark.

    Raises InputError if it is not JSON, nested more than 200 deep, or holds a number out of range.

    Args:
        where: begins the message, such as a path.
        any_number: whether numbers beyond 64 bits are kept, which transformers writes: a `model_max_length` of 1e30.
    """
    content = content.removeprefix(BYTE_ORDER_MARK)
    try:
        value = from_json(content, allow_inf_nan=False)
    except ValueError as error:
        raise InputError(f"{where}{_fault(content, str(error))}") from error
    if not any_number and MAY_BE_OUT_OF_RANGE.search(content):
        for path, leaf in leaves(value):
            if isinstance(leaf, int | float) and not in_range(leaf):
                key = shortened(path) or "the number"
                raise InputError(f"{where}: {key} is out of range; numbers of up to 64 bits work")
    return value


def _fault(content: bytes, message: str) -> str:
    """A fault of jiter's, `expected value at line 3 column 1`, as the end of a message that names the line."""
    problem, _, position = message.partition(" at line ")
    line = f" line {position.split()[0]}" if b"\n" in content.strip() else ""
    if problem in REASONS:
        return f"{line}: {REASONS[problem]}; JSON that vlbench reads is not"
    if match := NOT_NUMBERS.search(content):
        return f"{line}: holds {match[1].decode()}, which is not a number of JSON; write a number or null"
    return f"{line}: not JSON; cut off or damaged ({problem})"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every key and every value that is no mapping or list, after its place, such as `cells[0].latency_ms`."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield path or "a key", key
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, value


def in_range(number: float) -> bool:
    """Whether an integer has up to 64 bits, or a float is finite."""
    return -(2**63) <= number < 2**64 if isinstance(number, int) else math.isfinite(number)


def read_json(path: Path, *, option: str = "", any_number: bool = False) -> Any:
    """The value of a JSON file. Raises InputError as `check_regular` and `parse_json` do."""
    return parse_json(read_bytes(path, option=option), f"{option}{path}", any_number=any_number)


def read_json_lines(path: Path, *, option: str = "") -> Iterator[tuple[int, Any]]:
    r"""The line number and the value of each line that is not blank; lines end with \n alone.

    Raises InputError as `read_json` does, with the number of the line.
    """
    for number, line in read_byte_lines(path, option=option):
        yield number, parse_json(line, f"{option}{path} line {number}")


def json_line(content: Any) -> str:
    """A value as JSON in one line of ASCII, which every program splits alike. Raises ValueError for NaN."""
    return json.dumps(content, allow_nan=False)

"""NumPy's .npy and .npz files (NEP 1), without pickles; what a header declares is checked before memory is taken."""

from __future__ import annotations

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Container
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from vlbench.errors import InputError
from vlbench.files.text import MOST_BYTES, check_regular

DAMAGE = (
    ValueError,
    EOFError,
    OSError,
    MemoryError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted member
)


def read_arrays(path: Path, *, option: str = "") -> dict[str, np.ndarray]:
    """The arrays of an .npz file by their names, or of an .npy file as the only one, named "".

    Raises InputError if the file is neither, is damaged, holds Python objects, or declares more than it has.
    """
    check_regular(path, option=option)
    try:
        with path.open("rb") as file:
            return parse_arrays(file, f"{option}{path}")
    except OSError as error:
        raise InputError(f"{option}{path}: cannot be read: {error.strerror}") from error


def parse_arrays(file: IO[bytes], where: str, names: Container[str] | None = None) -> dict[str, np.ndarray]:
    """As `read_arrays`, of an open file; `names` are those to read of an .npz, all by default."""
    try:
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        if file.read(4) == b"PK\x03\x04":
            return _members(file, where, names)
        file.seek(0)
        return {"": _array(file, size_bytes, where)}
    except DAMAGE as error:
        raise InputError(f"{where}: not a .npy or .npz file of numbers, or damaged") from error


def _members(file: IO[bytes], where: str, names: Container[str] | None) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = {
            name: member
            for member in archive.infolist()
            if (name := member.filename.removesuffix(".npy")) != member.filename and (names is None or name in names)
        }
        if sum(member.file_size for member in members.values()) > MOST_BYTES:
            raise InputError(f"{where}: its arrays have more than {MOST_BYTES:,} bytes")
        arrays = {}
        for name, member in members.items():
            with archive.open(member) as stream:
                arrays[name] = _array(stream, member.file_size, where)
        return arrays


def _array(stream: IO[bytes], size_bytes: int, where: str) -> np.ndarray:
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise InputError(f"{where}: holds Python objects, which may run code; save numbers")
    amount = math.prod(shape)
    content = b""
    if 0 <= amount * dtype.itemsize <= size_bytes:
        content = stream.read(amount * dtype.itemsize)
    if min(shape, default=0) < 0 or len(content) != amount * dtype.itemsize:
        raise InputError(f"{where}: cut off or damaged: its header declares more than the file holds")
    return np.frombuffer(content, dtype, amount).reshape(shape, order="F" if is_fortran else "C")

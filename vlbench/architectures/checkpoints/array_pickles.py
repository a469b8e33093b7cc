"""Reads arrays from a pickle without numpy's help: a damaged one can change numpy's own types for the whole process."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, ClassVar

import numpy as np

NUMBERS = "fiub"  # kinds of arrays that PyTorch has
LARGEST_NUMBER = 8  # bytes of its largest type


class RefusedError(Exception):
    """The pickle needs something that is no array; the message names it."""


class NumberType:
    """A type of numbers, as `numpy.dtype` is pickled: its code, and the order of its bytes."""

    def __init__(self, code: Any, *flags: object) -> None:
        self.code, self.byte_order = code, "="

    def __setstate__(self, state: Any) -> None:
        self.byte_order = state[1]

    def numpy_type(self) -> np.dtype | None:
        """None for anything but numbers."""
        kind = np.dtype(str(self.byte_order).replace("|", "=") + str(self.code))
        return kind if kind.kind in NUMBERS and kind.itemsize <= LARGEST_NUMBER else None


class PickledArray:
    """An array as it is pickled; `values` is None where it holds anything but numbers."""

    def __init__(self, *arguments: object) -> None:
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, number_type, is_fortran, content = state
        self.values = _array(content, number_type, shape, "F" if is_fortran else "C")


class PickledScalar:
    """A number next to the arrays, which nothing reads."""

    def __init__(self, *arguments: object) -> None:
        pass


def _from_buffer(content: Any, number_type: NumberType, shape: Any, order: Any) -> PickledArray:
    array = PickledArray()
    array.values = _array(content, number_type, shape, order)
    return array


def _array(content: Any, number_type: NumberType, shape: Any, order: Any) -> np.ndarray | None:
    """Raises ValueError or TypeError where the content does not have the size of the shape."""
    kind = number_type.numpy_type()
    if kind is None:
        return None
    flat = np.frombuffer(content.encode("latin1") if isinstance(content, str) else content, kind)
    return flat.reshape(tuple(map(int, shape)), order=order)


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes, as old protocols write them."""
    if encoding != "latin1":
        raise ValueError(encoding)
    return text.encode(encoding)


def _known() -> dict[tuple[str, str], Callable[..., Any]]:
    """What a pickle of arrays asks for, and what it gets."""
    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): NumberType,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _encoded,
    }
    for package in ("numpy.core", "numpy._core"):  # in older and newer versions
        known[f"{package}.multiarray", "_reconstruct"] = PickledArray
        known[f"{package}.multiarray", "scalar"] = PickledScalar
        known[f"{package}.numeric", "_frombuffer"] = _from_buffer
    return known


KNOWN = _known()


class ArraysOnly(pickle._Unpickler):
    """Reads arrays, and bytes as old pickles write them; refuses everything else by its name.

    It is Python's unpickler in Python: the one in C takes gigabytes for a damaged number of a memo.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise RefusedError(f"{module}.{name}")
        return KNOWN[module, name]

    def _build(self) -> None:
        """Sets the state of arrays and their types, and of nothing else."""
        stack: list[Any] = self.stack  # type: ignore[attr-defined]
        state = stack.pop()
        if not isinstance(stack[-1], NumberType | PickledArray):
            raise pickle.UnpicklingError("a state for what has none")
        stack[-1].__setstate__(state)

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: _build}


def load_arrays(file: IO[bytes]) -> Any:
    """The content of a pickle, in which every array is a `PickledArray`.

    Raises RefusedError where it would call anything else, and what Python raises for a damaged file.
    """
    return ArraysOnly(file, encoding="latin1").load()

"""Reads the arrays of a plain pickle (`.pkl`), as Detectron and its heirs keep them, without running any code of it."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlbench.errors import InputError

_ARRAYS = {"_reconstruct", "scalar", "_frombuffer"}
_OF_NUMPY = {"multiarray", "numeric"}
LARGEST_NUMBER = 8  # bytes, that PyTorch has a type for


class _ArraysOnly(pickle.Unpickler):
    """Knows arrays and how old pickles write bytes; everything else is refused by its name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        package, _, part = module.rpartition(".")
        if package in ("numpy.core", "numpy._core") and part in _OF_NUMPY and name in _ARRAYS:
            return super().find_class(f"numpy._core.{part}", name)  # numpy.core is the name of older versions
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise _RefusedError(f"{module}.{name}")


class _RefusedError(Exception):
    """The pickle asks for something that is no array."""


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a pickled mapping from names to arrays, or of its key `model`.

    Raises InputError, in one line, where the file cannot be read, would run code, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except _RefusedError as error:
        raise InputError(
            f"weights {path}: refused, its pickle asks for {error}, which could run code; "
            "convert it to safetensors where you trust it"
        ) from error
    except OSError as error:
        raise InputError(f"weights {path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle fails in whatever it happens to call
        raise InputError(f"weights {path}: damaged or cut off, or no pickle; fetch it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"weights {path}: holds no arrays by name")
    other = [name for name, value in content.items() if not _is_array(name, value)]
    if other:
        raise InputError(f"weights {path}: {str(other[0])[:80]!r} is no array of numbers; a state_dict is wanted")
    return {name: torch.from_numpy(value.astype(value.dtype.newbyteorder("="))) for name, value in content.items()}


def _is_array(name: object, value: object) -> bool:
    """Whether PyTorch can take it: numbers, under a name."""
    if not isinstance(name, str) or not isinstance(value, np.ndarray):
        return False
    return value.dtype.kind in "fiub" and value.dtype.itemsize <= LARGEST_NUMBER

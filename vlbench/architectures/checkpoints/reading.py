"""Reads the tensors of a checkpoint: safetensors, PyTorch's own files, a folder, a hub, or a plain pickle (`.pkl`) as
Detectron and its successors write it.

Nothing is unpickled that could run code.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlbench.errors import InputError
from vlbench.specs.weights import shards, weights_file

_ARRAYS = {"_reconstruct", "scalar", "_frombuffer"}
_OF_NUMPY = {"multiarray", "numeric"}
LARGEST_NUMBER = 8  # bytes of the largest type that PyTorch has


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, and bytes as old pickles write them; refuses everything else by its name."""

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
    """The pickle needs something that is no array."""


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
    """Whether PyTorch can read it: numbers under a name."""
    if not isinstance(name, str) or not isinstance(value, np.ndarray):
        return False
    return value.dtype.kind in "fiub" and value.dtype.itemsize <= LARGEST_NUMBER


WRAPPERS = ("state_dict", "model_state_dict", "model")  # under which trainers keep the tensors
REFUSED = re.compile(r"GLOBAL ([\w.]+)")
# What Lightning saves in a .ckpt besides the tensors. A mapping replaces each class; none is imported or run.
LIGHTNING = """
    callbacks.early_stopping.EarlyStopping callbacks.lr_monitor.LearningRateMonitor
    callbacks.model_checkpoint.ModelCheckpoint utilities.parsing.AttributeDict
"""
BESIDE_TENSORS: list[Any] = [(OrderedDict, f"pytorch_lightning.{name}") for name in LIGHTNING.split()]


def read_state(source: str) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, of a file, of a folder as transformers writes it, or of `hub:OWNER/NAME`.

    Raises InputError where there is none, it is damaged, it would run code, or the hub cannot be reached.
    """
    return _read(source, values=True)


def read_layout(source: str) -> dict[str, Tensor]:
    """As `read_state`, for names and shapes: the values are read only if the file's format requires it.

    The tensors are on the meta device, or mapped to the file. Damaged values are not found.
    """
    return _read(source, values=False)


def _read(source: str, *, values: bool) -> dict[str, Tensor]:
    path = weights_file(source)
    paths = [path.parent / name for name in shards(path)] if path.name.endswith(".index.json") else [path]
    return {key: tensor for shard in paths for key, tensor in _read_file(shard, values=values).items()}


def read_metadata(source: str) -> dict[str, str]:
    """The metadata of a safetensors file; empty for any other. Raises InputError if it is damaged."""
    path = weights_file(source)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _read_file(path: Path, *, values: bool) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)  # maps the file, and reads values only when they are used
    if path.suffix == ".pkl":
        return read_arrays(path)
    return _tensors(path, _read_pickle(path, "cpu" if values or not zipfile.is_zipfile(path) else "meta"))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path, device: str) -> Any:
    if _is_program(path):
        raise InputError(
            f"weights {path}: refused, a TorchScript archive is a program; "
            "where you trust it, save the state_dict() of torch.jit.load(...) as safetensors"
        )
    try:
        with warnings.catch_warnings():  # of pickle protocols that it may not know
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(BESIDE_TENSORS):
                return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        refused = REFUSED.search(str(error))
        name = refused[1] if refused else _first_global(path)
        if name:
            raise InputError(
                f"weights {path}: refused, its pickle asks for {name}, which could run code; "
                "convert it to safetensors where you trust it"
            ) from error
        raise InputError(f"weights {path}: damaged, or no file of PyTorch's") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(f"weights {path}: damaged or cut off; fetch it again") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _is_program(path: Path) -> bool:
    """Whether a file is TorchScript's, as those of OpenAI's CLIP are; a state_dict has no such record."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _first_global(path: Path) -> str | None:
    """The first import of a bare pickle, found without running it; None if it is no pickle."""
    texts: list[str] = []
    try:
        with path.open("rb") as file:
            for operator, argument, _ in pickletools.genops(file):
                if operator.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if operator.name == "STACK_GLOBAL":
                    return ".".join(texts[-2:])
                if isinstance(argument, str):
                    texts.append(argument)
    except ValueError:
        pass
    return None


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError):
        return InputError(f"weights {path}: cannot be read: {error.strerror or error}")
    return InputError(f"weights {path}: damaged or cut off ({error}); fetch it again")


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and (wrapped := [content[key] for key in WRAPPERS if key in content]):
        content = wrapped[0]
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"weights {path}: holds no tensors by name")
    other = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if other:
        raise InputError(f"weights {path}: {other[0]!r} is no tensor; a state_dict is wanted")
    return dict(content)

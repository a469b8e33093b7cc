"""Reads the pickles that hold a checkpoint's tensors: PyTorch's own files, and plain ones of arrays (`.pkl`).

Nothing is unpickled that could run code.
"""

from __future__ import annotations

import errno
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlbench.architectures.checkpoints.array_pickles import PickledArray, RefusedError, load_arrays
from vlbench.errors import InputError, quoted

# What Python, numpy and PyTorch raise where a file is damaged: it calls for anything.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
)
# Under which trainers keep the tensors; averages of the weights (EMA) only where there is nothing else.
WRAPPERS = """
    state_dict model_state_dict model module net network weights params
    state_dict_ema model_ema ema_state_dict ema params_ema model_ema_state_dict
""".split()
MOST_WRAPPED = 8  # in one another; a dictionary can hold itself
MOST_UNPACKED = 20  # bytes of a zip's records for each byte of the file; weights do not shrink so far
REFUSED = re.compile(r"GLOBAL ([\w.]+)")


class BesideTensors:
    """Replaces what trainers save next to the tensors, whatever its class; that class is neither imported nor run."""

    def __new__(cls, *arguments: object) -> BesideTensors:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Forgets the state."""


NO_MAPPINGS = """
    argparse.Namespace datetime.datetime datetime.timedelta pathlib.WindowsPath pathlib.PureWindowsPath
    pathlib.PosixPath pathlib.PurePosixPath pathlib._local.PosixPath pathlib._local.PurePosixPath
    numpy.dtype numpy.ndarray numpy.core.multiarray.scalar numpy._core.multiarray.scalar
    numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct numpy._core.numeric._frombuffer
    pytorch_lightning.callbacks.early_stopping.EarlyStopping
    pytorch_lightning.callbacks.lr_monitor.LearningRateMonitor
    pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint
"""
MAPPINGS = """
    pytorch_lightning.utilities.parsing.AttributeDict lightning_fabric.utilities.data.AttributeDict
    lightning.fabric.utilities.data.AttributeDict
"""
REPLACED: list[Any] = [(BesideTensors, name) for name in NO_MAPPINGS.split()]
REPLACED += [(OrderedDict, name) for name in MAPPINGS.split()]


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Tensors by name of a pickled mapping from names to arrays, or of what trainers wrap around it.

    Raises InputError, in one line, where the file cannot be read, would run code, or holds something else.
    """
    try:
        with path.open("rb") as file:
            content = load_arrays(file)
    except RefusedError as error:
        raise _would_run(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except DAMAGED as error:
        raise InputError(f"weights {path}: damaged or cut off, or no pickle; fetch it again") from error
    arrays = _by_name(path, content, _is_array, "array of numbers")
    return {name: _tensor(array.values) for name, array in arrays.items()}


def read_tensors(path: Path, *, values: bool) -> dict[str, Tensor]:
    """Tensors by name of a file of PyTorch's; on the meta device where `values` are not needed and it is a zip.

    Raises InputError, in one line, where the file cannot be read, would run code, or holds something else.
    """
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_zip(path)
    try:
        with warnings.catch_warnings():  # of pickle protocols that it may not know
            warnings.simplefilter("ignore")
            with torch.serialization.safe_globals(REPLACED):
                content = torch.load(path, map_location="cpu" if values or not is_zip else "meta", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = REFUSED.search(str(error))
        name = refused[1] if refused else _first_global(path)
        if name:
            raise _would_run(path, name) from error
        raise InputError(f"weights {path}: damaged, or no file of PyTorch's") from error
    except (OSError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # to seek before a file's beginning
            raise unreadable(path, error) from error
        raise InputError(f"weights {path}: damaged or cut off; fetch it again") from error
    return _by_name(path, content, _is_tensor, "tensor")


def unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, OSError):
        return InputError(f"weights {path}: cannot be read: {error.strerror or error}")
    return InputError(f"weights {path}: damaged or cut off ({quoted(str(error))[1:-1]}); fetch it again")


def _would_run(path: Path, name: str) -> InputError:
    return InputError(
        f"weights {path}: refused, its pickle asks for {quoted(name)[1:-1]}, which could run code; "
        "convert it to safetensors where you trust it"
    )


def _by_name(path: Path, content: Any, fits: Any, kind: str) -> dict[str, Any]:
    """The mapping of tensors or arrays, checked, within what trainers wrap around it."""
    for _ in range(MOST_WRAPPED):
        inner = [content[key] for key in WRAPPERS if key in content] if isinstance(content, Mapping) else []
        wrapped = next((value for value in inner if isinstance(value, Mapping) and value), None)
        if wrapped is None:
            break
        content = wrapped
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"weights {path}: holds no {kind.split()[0]}s by name")
    most_bytes = path.stat().st_size
    for name, value in content.items():
        label = repr(name[:80]) if isinstance(name, str) else f"'{_short(name)}'"
        if not isinstance(name, str) or not fits(value):
            raise InputError(f"weights {path}: {label} is no {kind}; a state_dict is wanted")
        if isinstance(value, Tensor) and value.nbytes > most_bytes:
            declared = f"{label} declares {value.nbytes:,} bytes, more than the file has"
            raise InputError(f"weights {path}: {declared}; fetch it again")
    return dict(content)


def _short(name: object) -> str:
    """A name that is no text: a number, or else its type, because what a file holds can be endless."""
    return str(name) if isinstance(name, int) and name.bit_length() < 64 else type(name).__name__


def _is_array(value: object) -> bool:
    return isinstance(value, PickledArray) and value.values is not None


def _tensor(values: np.ndarray) -> Tensor:
    """A copy, in the order of bytes of this machine."""
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_nested


def _check_zip(path: Path) -> None:
    """Refuses TorchScript, as files of OpenAI's CLIP are, and records that unpack to far more than the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except DAMAGED:
        return  # PyTorch reads it in its own way, or finds it damaged
    if any(record.filename.endswith("/constants.pkl") for record in records):
        raise InputError(
            f"weights {path}: refused, a TorchScript archive is a program; "
            "where you trust it, save the state_dict() of torch.jit.load(...) as safetensors"
        )
    unpacked = sum(record.file_size for record in records)
    if unpacked > MOST_UNPACKED * path.stat().st_size:
        raise InputError(f"weights {path}: its records unpack to {unpacked:,} bytes, too many for weights")


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
    except DAMAGED:
        pass
    return None

"""Checkpoints, each written completely or not at all, and Ctrl-C, which saves one before training stops."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vlbench.errors import InputError
from vlbench.files.text import check_regular
from vlbench.files.writing import replacing
from vlbench.training.budget import Spent
from vlbench.training.curve import CurvePoint, Total

CHECKPOINT = "checkpoint.pt"
FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Everything that is needed to resume.

    Attributes:
        module: its state, parameters and buffers.
        optimiser: its state.
        totals: sums and weights since the last point of the curve.
        identity: what the trained model depends on; a run with another identity cannot resume.
    """

    module: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    spent: Spent
    history: tuple[CurvePoint, ...]
    totals: Mapping[str, Total]
    identity: Mapping[str, object]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Replaces the last checkpoint once the new one is on the disk.

    Raises InputError, and keeps the last one, where it cannot be written.
    """
    path = folder / CHECKPOINT
    numbers = {
        "spent": asdict(checkpoint.spent),
        "history": [point.model_dump() for point in checkpoint.history],
        "totals": checkpoint.totals,
        "identity": checkpoint.identity,
    }
    content = {
        "format": FORMAT,
        "module": dict(checkpoint.module),
        "optimiser": dict(checkpoint.optimiser),
        "numbers": json.dumps(numbers),
    }
    try:
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        cause = _error_of_disk(error)
        if cause is None:
            raise
        reason = cause.strerror or cause
        kept = "; the last one is kept" if path.exists() else ""
        raise InputError(
            f"{path}: cannot be written ({reason}){kept}; make room, then the same command resumes"
        ) from error
    return path


def _error_of_disk(error: BaseException | None) -> OSError | None:
    """The OSError that an error began with: PyTorch's writer raises a RuntimeError after that of a full disk."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The last checkpoint, on the CPU; None where there is none. Raises InputError where it cannot be read."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    check_regular(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        numbers = json.loads(content["numbers"])
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        if not all(isinstance(tensor, Tensor) for tensor in content["module"].values()):
            raise ValueError("not a state of tensors")
        return Checkpoint(
            module=content["module"],
            optimiser=content["optimiser"],
            spent=Spent(**({"waiting_seconds": None} | numbers["spent"])),
            history=tuple(CurvePoint.model_validate(point) for point in numbers["history"]),
            totals={name: (total, weight) for name, (total, weight) in numbers["totals"].items()},
            identity=numbers["identity"],
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name another folder") from error
    except Exception as error:  # PyTorch's reader can raise anything on a damaged file
        raise damaged(path) from error


def damaged(path: Path) -> InputError:
    return InputError(f"{path}: damaged, or not a checkpoint of this version; delete it to start again")


def check_same_identity(path: Path, saved: Mapping[str, object], current: Mapping[str, object]) -> None:
    """Raises InputError that names the first setting in which a checkpoint differs from this run."""
    for name in [*current, *saved]:
        if saved.get(name) != current.get(name):
            raise InputError(
                f"{path}: was trained with {name.replace('_', ' ')} {_or_none(saved.get(name))}, but this run has "
                f"{_or_none(current.get(name))}; the same settings resume it, another folder starts again"
            )


def check_same_tensors(path: Path, saved: Mapping[str, Tensor], current: Mapping[str, Tensor]) -> None:
    """Raises InputError that names the first tensor that only one of the models has, or that has another shape."""
    saved_shapes, shapes = (
        {name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (saved, current)
    )
    for name in [*shapes, *saved_shapes]:
        if saved_shapes.get(name) != shapes.get(name):
            raise InputError(
                f"{path}: is of another model: {name} is {_or_none(saved_shapes.get(name))} there and "
                f"{_or_none(shapes.get(name))} here; the same model resumes it, another folder starts again"
            )


def load_optimiser(path: Path, optimiser: Optimizer, saved: Mapping[str, Any]) -> None:
    """Raises InputError where the checkpoint's state is not one of these parameters."""
    try:
        optimiser.load_state_dict(dict(saved))
        state = optimiser.state
        whole = all(
            values[name].shape == parameter.shape
            for parameter, values in state.items()
            for name in ("exp_avg", "exp_avg_sq")
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged(path) from error
    if not whole:
        raise damaged(path)


def _or_none(value: object) -> str:
    return "none" if value is None else str(value)


SAME_PRESS_SECONDS = 2.0  # torchrun passes on a Ctrl-C that its processes also get from the terminal


class Interrupted(KeyboardInterrupt):
    """Training was interrupted and can be resumed. The message says what is kept, and where."""

    def __init__(self, folder: Path, samples: int) -> None:
        super().__init__(f"the training of {samples:,} samples is kept in {folder}")
        self.folder, self.samples = folder, samples


class StopRequest:
    """Whether the user pressed Ctrl-C."""

    def __init__(self) -> None:
        self.requested = False
        self.requested_at = 0.0

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        """A second Ctrl-C, some seconds after the first, stops at once; the last checkpoint is kept."""
        now = time.monotonic()
        if self.requested and now - self.requested_at > SAME_PRESS_SECONDS:
            raise KeyboardInterrupt
        self.requested, self.requested_at = True, now


@contextmanager
def interrupt_deferred() -> Iterator[StopRequest]:
    """Within the context, Ctrl-C sets a flag instead of raising KeyboardInterrupt. In other threads it does nothing."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

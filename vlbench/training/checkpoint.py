"""The state of training on disk, written whole or not at all; after Ctrl-C the step is finished and saved first."""

from __future__ import annotations

import json
import os
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

from vlbench.errors import InputError
from vlbench.training.budget import Spent
from vlbench.training.curve import CurvePoint

CHECKPOINT = "checkpoint.pt"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that going on takes.

    Attributes:
        module: its state, parameters and buffers.
        optimiser: its state.
        tally: what was averaged since the last point.
        described: what the trained model depends on; going on with another is refused.
    """

    module: Mapping[str, Tensor]
    optimiser: Mapping[str, Any]
    spent: Spent
    history: tuple[CurvePoint, ...]
    tally: Mapping[str, tuple[float, float]]
    described: Mapping[str, object]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """In place of the one before, once it is on the disk. Raises InputError, with that one kept, where that fails."""
    path = folder / CHECKPOINT
    unfinished = path.with_name(f"{CHECKPOINT}.unfinished")
    numbers = {
        "spent": asdict(checkpoint.spent),
        "history": [point.model_dump() for point in checkpoint.history],
        "tally": checkpoint.tally,
        "described": checkpoint.described,
    }
    content = {
        "format": FORMAT,
        "module": dict(checkpoint.module),
        "optimiser": dict(checkpoint.optimiser),
        "numbers": json.dumps(numbers),
    }
    try:
        with unfinished.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _on_the_disk(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: PyTorch's writer on a full disk
        unfinished.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else "the disk is full"
        kept = "; the one before is kept" if path.exists() else ""
        raise InputError(
            f"{path}: cannot be written ({reason}){kept}; make room, and the same command goes on"
        ) from error
    return path


def _on_the_disk(folder: Path) -> None:
    """The folder's entry of the new file, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The last one, on the CPU; None where there is none. Raises InputError where it is damaged or a stranger's."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        numbers = json.loads(content["numbers"])
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        return Checkpoint(
            module=content["module"],
            optimiser=content["optimiser"],
            spent=Spent(**numbers["spent"]),
            history=tuple(CurvePoint.model_validate(point) for point in numbers["history"]),
            tally={name: (total, weight) for name, (total, weight) in numbers["tally"].items()},
            described=numbers["described"],
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name another folder") from error
    except Exception as error:  # whatever a damaged file or a stranger's makes of PyTorch's reader
        raise InputError(f"{path}: damaged, or no checkpoint of this version; delete it to begin anew") from error


def check_same(path: Path, held: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raises InputError that names the first thing in which a checkpoint differs from what is asked for."""
    for name in [*wanted, *held]:
        if held.get(name) != wanted.get(name):
            raise InputError(
                f"{path}: was trained with {name.replace('_', ' ')} {_told(held.get(name))}, and "
                f"{_told(wanted.get(name))} is asked for; the same again goes on, and another folder begins anew"
            )


def check_same_tensors(path: Path, held: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises InputError that names the first tensor that only one of them has, or that has another shape."""
    shapes, asked = ({name: tuple(one.shape) for name, one in side.items()} for side in (held, wanted))
    for name in [*asked, *shapes]:
        if shapes.get(name) != asked.get(name):
            raise InputError(
                f"{path}: is of another model: {name} is {_told(shapes.get(name))} there and {_told(asked.get(name))} "
                "here; the same model goes on, and another folder begins anew"
            )


def _told(value: object) -> str:
    return "none" if value is None else str(value)


SAME_SECONDS = 2.0  # torchrun passes on a Ctrl-C that its processes have had from the terminal, too


class Interrupted(KeyboardInterrupt):
    """Training was interrupted and can go on. The message says what is kept, and where."""

    def __init__(self, folder: Path, samples: int) -> None:
        super().__init__(f"the training of {samples:,} samples is kept in {folder}")
        self.folder, self.samples = folder, samples


class Stop:
    """Whether the user asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        self.at = 0.0

    def ask(self, _signal: int, _frame: FrameType | None) -> None:
        """A second time, some seconds later, means at once: the checkpoint before is what is kept."""
        now = time.monotonic()
        if self.asked and now - self.at > SAME_SECONDS:
            raise KeyboardInterrupt
        self.asked, self.at = True, now


@contextmanager
def stopping() -> Iterator[Stop]:
    """While this lasts Ctrl-C asks for an end instead of being one. In a thread of a program it changes nothing."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, stop.ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)

"""Backends in a few lines: one whose stages take at least 5 ms each, with an eager head, and some that do not work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from vlbench.architectures.heads import ImageTextMatching
from vlbench.measuring.counters import map_tensors
from vlbench.runner.backends import BACKENDS, FLOATS, BackendInfo
from vlbench.runner.conversion import NotConvertibleError, Part, PreparedWorkload, Workload
from vlbench.runner.parts import convert_workload

STAGE_MS = 5
CONVERTED = "converted"  # a file that says so


class ToyBackend:
    def prepare(self, workload: Workload) -> PreparedWorkload:
        (workload.target.folder / CONVERTED).write_bytes(b"7 bytes")
        return replace(convert_workload(workload, slower), options={"threads": workload.target.threads})


def slower(part: Part) -> Callable[..., Any]:
    if isinstance(part.module, ImageTextMatching):
        raise NotConvertibleError("a toy has no heads")

    def converted(*positional: Any, **named: Any) -> Any:
        time.sleep(STAGE_MS / 1e3)
        return part.eager(*positional, **named)

    return converted


class WrongBackend:
    """Adds 1 to what the interaction gives."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        return convert_workload(workload, plus_one)


def plus_one(part: Part) -> Callable[..., Any]:
    if part.name != "interaction":
        return part.eager
    return lambda *positional, **named: map_tensors(part.eager(*positional, **named), _incremented)


def _incremented(tensor: Tensor) -> Tensor:
    return tensor + 1 if tensor.is_floating_point() else tensor


class FailingBackend:
    """Fails while it converts, or in the first pass of a process for which the model was converted before."""

    def __init__(self, fail: Callable[[], Any], *, converting: bool) -> None:
        self.fail, self.converting = fail, converting

    def prepare(self, workload: Workload) -> PreparedWorkload:
        if self.converting:
            self.fail()
        file = workload.target.folder / CONVERTED
        if not file.exists():
            file.touch()
            return convert_workload(workload, lambda part: part.eager)
        return PreparedWorkload(forward=self.fail, stages={})


def fail() -> None:
    raise LookupError("no such kernel\nin line 7")


RaisesConverting = partial(FailingBackend, fail, converting=True)
RaisesRunning = partial(FailingBackend, fail, converting=False)
AbortsConverting = partial(FailingBackend, os.abort, converting=True)
AbortsRunning = partial(FailingBackend, os.abort, converting=False)


def toy(target: str, **changes: Any) -> BackendInfo:
    return BackendInfo(target=target, **({"precisions": {"cpu": FLOATS}} | changes))


TOYS = {
    "toy": toy(f"{__name__}:ToyBackend"),
    "wrong": toy(f"{__name__}:WrongBackend"),
    "absent": toy("tests.no_such_runtime:AbsentBackend", extra="toys"),
    "raises-converting": toy(f"{__name__}:RaisesConverting"),
    "raises-running": toy(f"{__name__}:RaisesRunning"),
    "aborts-converting": toy(f"{__name__}:AbortsConverting"),
    "aborts-running": toy(f"{__name__}:AbortsRunning"),
}


def register() -> None:
    BACKENDS.update(TOYS)

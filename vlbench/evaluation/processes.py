"""Several processes that share one evaluation, started by torchrun or accelerate."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NoReturn, TypeVar

import torch
from torch import distributed

from vlbench.errors import InputError, WorkerError
from vlbench.runner.devices import resolve_device, visible_gpu
from vlbench.tables.numbers import counted

Value = TypeVar("Value")
LONGEST_WAIT = timedelta(days=2)  # for the slowest process
PEER_HAS_GONE = ("gloo/transport", "Connection closed by peer", "Connection reset by peer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One of `world` processes. `local_rank` is its rank among those on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, values: Sequence[Value]) -> list[Value]:
        """Every `world`-th value; each value belongs to exactly one process."""
        return list(values[self.rank :: self.world])

    def wait(self) -> None:
        """Waits until all processes call this."""
        if self.world > 1:
            distributed.barrier()

    def broadcast(self, value: Value) -> Value:
        """Returns the value of the first process, in every process."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def any_of(self, value: Value | None) -> Value | None:
        """The first value of all processes that is not None, in every process."""
        values: list[Value | None] = [value]
        if self.world > 1:
            values = [None] * self.world
            distributed.all_gather_object(values, value)
        return next((some for some in values if some is not None), None)

    def device(self, name: str) -> torch.device:
        """The GPU of this process, or the CPU."""
        return torch.device("cuda", self.local_rank) if name == "cuda" else torch.device(name)


@contextmanager
def joined_processes() -> Iterator[Process]:
    """Joins the processes that were started together, according to the environment variables of torchrun.

    Where one of them ends early, the first of the others raises WorkerError, and the others end.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process()
        return
    # gloo with GPUs, too: only small objects pass through this group
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    process = Process(rank=distributed.get_rank(), world=world, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield process
    except RuntimeError as error:
        if not any(sign in str(error) for sign in PEER_HAS_GONE):
            raise
        if not process.first:
            raise SystemExit(1) from error
        raise WorkerError("another process of torchrun ended early; what it printed says why") from error
    finally:
        distributed.destroy_process_group()


def local_processes() -> int:
    """How many processes torchrun started on this machine; 1 without torchrun."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def compute_device(name: str) -> Literal["cpu", "cuda"]:
    """Where this process computes. Call it before CUDA starts: a GPU with a number will be the only one that it sees.

    Raises InputError, in one of the processes of this machine, for a GPU that PyTorch does not see, and for fewer GPUs
    than processes.
    """
    try:
        os.environ.update(visible_gpu(name))
        device = resolve_device(name, has_gpu=name != "cpu" and torch.cuda.is_available())
    except InputError as error:
        _refuse(str(error))
    started = local_processes()
    if device == "cuda" and started > (gpus := torch.cuda.device_count()):
        if ":" in name:
            _refuse(
                f"--device {name}: torchrun started {started} processes, which need a GPU each; --device cuda works"
            )
        _refuse(
            f"torchrun started {started} processes on this machine, which has {counted(gpus, 'GPU')}; "
            f"--nproc-per-node {gpus} works"
        )
    return device


SECONDS_TO_REFUSE = 10.0  # until the first process of a machine has said why; then torchrun ends the others


def _refuse(message: str) -> NoReturn:
    """Raises InputError in the first process of this machine; the others end after it, without a line."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        raise InputError(message)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(SECONDS_TO_REFUSE)
    raise SystemExit(2)

"""Several processes that share one evaluation, started by torchrun or accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import distributed

from vlbench.runner.devices import resolve_device, visible_gpu

Value = TypeVar("Value")
LONGEST_WAIT = timedelta(days=2)  # for the slowest process


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

    def device(self, name: str) -> torch.device:
        """The GPU of this process, or the CPU."""
        return torch.device("cuda", self.local_rank) if name == "cuda" else torch.device(name)


@contextmanager
def joined_processes() -> Iterator[Process]:
    """Joins the processes that were started together, according to the environment variables of torchrun."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process()
        return
    # gloo with GPUs, too: only small objects pass through this group
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield Process(rank=distributed.get_rank(), world=world, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()


def compute_device(name: str) -> Literal["cpu", "cuda"]:
    """Where this process computes. Call it before CUDA starts: of several GPUs it will see only the one of this name.

    Raises InputError for a GPU that PyTorch does not see.
    """
    os.environ.update(visible_gpu(name))
    return resolve_device(name, has_gpu=torch.cuda.is_available())

"""Several processes that share one evaluation, as torchrun or accelerate start them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
from torch import distributed

from vlbench.errors import InputError

Thing = TypeVar("Thing")
LONGEST_WAIT = timedelta(days=2)  # for the slowest of the processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One of `world` processes; `local_rank` is its place on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, things: Sequence[Thing]) -> list[Thing]:
        """Every `world`-th; together the processes have each once."""
        return list(things[self.rank :: self.world])

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()

    def agree(self, thing: Thing) -> Thing:
        """What the first process has, in all of them."""
        if self.world == 1:
            return thing
        things = [thing]
        distributed.broadcast_object_list(things, src=0)
        return things[0]

    def device(self, name: str) -> torch.device:
        """The GPU of this process's own, or the CPU."""
        return torch.device("cuda", self.local_rank) if name == "cuda" else torch.device(name)


@contextmanager
def joined() -> Iterator[Process]:
    """This process among those that were started with it, by the environment that torchrun sets."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process()
        return
    # gloo also beside GPUs: nothing but "I am done" passes between processes
    distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield Process(rank=distributed.get_rank(), world=world, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        distributed.destroy_process_group()


def device_named(name: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """`auto` takes the GPU where there is one. Raises InputError where one is asked for that is not there."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InputError("--device cuda: PyTorch sees no GPU here; --device cpu works")
    return "cuda" if found and name != "cpu" else "cpu"

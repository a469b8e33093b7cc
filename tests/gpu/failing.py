"""The errors of PyTorch where memory runs out or a GPU fails, and a command in which one of them is raised."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch

OF_GPU = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.81 GiB of which 9.12 GiB is "
    "free. Including non-PyTorch memory, this process has 130.69 GiB memory in use. See documentation for Memory "
    "Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
)
OF_CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000000 bytes. Error code 12 (Cannot allocate memory)"
)
ILLEGAL = "CUDA error: an illegal memory access was encountered"
HINTS = "\nCUDA kernel errors might be asynchronously reported at some other API call.\nFor debugging consider ..."


def no_gpu_memory() -> Exception:
    return torch.OutOfMemoryError(OF_GPU)


def failing_after(calls: int, method: Callable[..., Any], error: Callable[[], BaseException]) -> Callable[..., Any]:
    """The method, which raises an error from this call on, counted from 0."""
    made: list[None] = []

    def call(*arguments: Any, **named: Any) -> Any:
        if len(made) >= calls:
            raise error()
        made.append(None)
        return method(*arguments, **named)

    return call


def main() -> None:
    """vlbench, in which the GPU of the process of rank 1 has no memory for the third step of training."""
    from vlbench.cli.main import main as vlbench  # noqa: PLC0415
    from vlbench.training.progress import TrainingClock  # noqa: PLC0415
    from vlbench.training.shapes_learner import ShapesLearner  # noqa: PLC0415

    TrainingClock.seconds_since_checkpoint = property(lambda _: 1e9)  # type: ignore[assignment,method-assign]
    if os.environ.get("RANK") == "1":
        ShapesLearner.losses = failing_after(2, ShapesLearner.losses, no_gpu_memory)  # type: ignore[method-assign]
    sys.argv[0] = "vlbench"
    vlbench()


if __name__ == "__main__":
    main()

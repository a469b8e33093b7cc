"""The gradient of a step: of all its micro-batches, in all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from vlbench.evaluation.processes import Process


class Reducer:
    """Sums the gradients of all processes, so that each has that of the whole step.

    Each process has weighted the mean over a micro-batch by the micro-batch's share of the step's samples, so the sum
    is the mean over all samples, however unevenly they are cut. A parameter that no process used has no gradient, as
    in one process alone. Buffers are left alone: BatchNorm has the statistics of each process's own micro-batches.

    Args:
        parameters: all that are trained, in the same order in all processes, on one device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], process: Process) -> None:
        self.parameters, self.process = parameters, process
        on_gpu = process.world > 1 and parameters[0].is_cuda
        if on_gpu:
            torch.cuda.set_device(parameters[0].device)
        self.group: Any = distributed.new_group(backend="nccl") if on_gpu else None  # None: all of them, by gloo

    def sum(self) -> None:
        """In place of each parameter's `grad`."""
        if self.process.world == 1:
            return
        used_P = torch.tensor([one.grad is not None for one in self.parameters], dtype=torch.float32)
        pieces = [
            (torch.zeros_like(one) if one.grad is None else one.grad).flatten().float() for one in self.parameters
        ]
        flat = torch.cat([*pieces, used_P.to(pieces[0].device)])
        distributed.all_reduce(flat, group=self.group)
        *summed, counts_P = flat.split([*(one.numel() for one in self.parameters), len(self.parameters)])
        for one, gradient, count in zip(self.parameters, summed, counts_P.tolist(), strict=True):
            one.grad = gradient.view_as(one).to(one.dtype) if count else None

    def share_weights(self, module: nn.Module) -> None:
        """Gives all processes the parameters and buffers of the first."""
        if self.process.world == 1:
            return
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                distributed.broadcast(tensor, src=0, group=self.group)

    def most(self, values: Sequence[float]) -> list[float]:
        """Of each value the greatest that any process has."""
        if self.process.world == 1:
            return list(values)
        agreed = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
        return agreed.tolist()


def clipped(parameters: Sequence[nn.Parameter], longest: float | None) -> Tensor:
    """The norm of the whole gradient, (); it is shortened to `longest` where it is longer."""
    return nn.utils.clip_grad_norm_(parameters, float("inf") if longest is None else longest)

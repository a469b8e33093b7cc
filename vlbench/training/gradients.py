"""The gradient of a step, summed over its micro-batches and all processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn

from vlbench.evaluation.processes import Process


class GradientReducer:
    """Sums the gradients of all processes, so that each process has the gradient of the whole step.

    Each process weights the mean over a micro-batch by the micro-batch's share of the step's samples. The sum is then
    the mean over all samples, however unevenly they are divided. A parameter that no process used has no gradient, as
    in a single process. Buffers are not shared: BatchNorm has the statistics of each process's own micro-batches.

    Args:
        parameters: all that are trained, in the same order in all processes, on one device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], process: Process) -> None:
        self.parameters, self.process = parameters, process
        on_gpu = process.world > 1 and parameters[0].is_cuda
        if on_gpu:
            torch.cuda.set_device(parameters[0].device)
        self.group: Any = distributed.new_group(backend="nccl") if on_gpu else None  # None: the default group, gloo

    def sum(self) -> None:
        """Replaces each parameter's `grad` by the sum over processes."""
        if self.process.world == 1:
            return
        used_P = torch.tensor([parameter.grad is not None for parameter in self.parameters], dtype=torch.float32)
        pieces = [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten().float()
            for parameter in self.parameters
        ]
        flat = torch.cat([*pieces, used_P.to(pieces[0].device)])
        distributed.all_reduce(flat, group=self.group)
        *sums, counts_P = flat.split([*(parameter.numel() for parameter in self.parameters), len(self.parameters)])
        for parameter, gradient, count in zip(self.parameters, sums, counts_P.tolist(), strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype) if count else None

    def share_weights(self, module: nn.Module) -> None:
        """Gives all processes the parameters and buffers of the first."""
        if self.process.world == 1:
            return
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                distributed.broadcast(tensor, src=0, group=self.group)

    def greatest(self, values: Sequence[float]) -> list[float]:
        """The greatest of each value over all processes."""
        if self.process.world == 1:
            return list(values)
        reduced = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(reduced, op=distributed.ReduceOp.MAX)
        return reduced.tolist()


def clip_gradient(parameters: Sequence[nn.Parameter], longest: float | None) -> Tensor:
    """Scales the gradient down to the norm `longest` where it is longer; returns its norm before, ()."""
    return nn.utils.clip_grad_norm_(parameters, float("inf") if longest is None else longest)

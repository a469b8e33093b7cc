"""How far the outputs of a converted model lie from those of eager PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vlbench.measuring.counters import tensors_of
from vlbench.measuring.records import Precision
from vlbench.runner.conversion import PreparedWorkload, Workload
from vlbench.runner.parts import WHOLE
from vlbench.runner.records import Equality

# Of the largest value that eager PyTorch gives. Those of int8 are bounds for broken conversions, not for good ones:
# what quantisation costs in accuracy, `vlbench eval` measures.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2, "int8": 0.25, "int8-static": 0.5}


class Difference:
    """The largest and the mean difference of tensors, each as a share of the largest value that is expected."""

    def __init__(self) -> None:
        self.largest, self.sum, self.count = 0.0, 0.0, 0

    def add(self, expected: Iterable[Tensor], given: Iterable[Tensor]) -> None:
        """Infinite where shapes differ, or values that are not floating-point numbers."""
        for mine, theirs in zip(list(expected), list(given), strict=True):
            if mine.shape != theirs.shape:
                self.largest = math.inf
            elif mine.is_floating_point():
                self._add(mine.float(), theirs.float())
            elif not torch.equal(mine, theirs.to(mine.dtype)):
                self.largest = math.inf

    def _add(self, mine: Tensor, theirs: Tensor) -> None:
        finite = mine.isfinite()
        if not torch.equal(mine[~finite], theirs[~finite]):
            self.largest = math.inf
            return
        scale = float(mine[finite].abs().max()) if finite.any() else 0.0
        apart = (mine[finite] - theirs[finite]).abs()
        if not apart.numel() or not float(apart.max()):
            self.count += apart.numel()
            return
        worst = float(apart.max()) / scale if scale else math.inf
        self.largest = max(self.largest, worst if worst == worst else math.inf)
        self.sum += float(apart.sum(dtype=torch.float64)) / scale if scale else 0.0
        self.count += apart.numel()


def check_equality(workload: Workload, prepared: PreparedWorkload, precision: Precision, *, selects: bool) -> Equality:
    """Runs a converted workload on the same passes.

    Each converted part is given what it was given in the eager pass, so that no difference before it counts.

    Args:
        selects: whether the model selects by scores, as a detector does; then a last digit decides what it outputs, so
            that only its parts are compared.
    """
    by_part: dict[str, Difference] = {}
    for part, forward in prepared.parts:
        difference = by_part.setdefault(part.name, Difference())
        for call, output in zip(part.calls, part.outputs, strict=True):
            difference.add(tensors_of(output), tensors_of(forward(*call.positional, **call.named)))
    whole = any(part.name == WHOLE for part, _ in prepared.parts)
    if not whole and not (selects and prepared.parts):
        output = by_part.setdefault("output", Difference())
        for run, wanted in _compared(workload, prepared):
            output.add(tensors_of(wanted), tensors_of(run()))
    worst = max(by_part.values(), key=lambda difference: difference.largest)
    total = sum(difference.count for difference in by_part.values())
    return Equality(
        inputs=max(1, len(prepared.outputs)),
        largest=None if math.isinf(worst.largest) else worst.largest,
        mean=sum(difference.sum for difference in by_part.values()) / max(1, total),
        tolerance=TOLERANCES[precision],
        largest_by_part={
            name: None if math.isinf(difference.largest) else difference.largest for name, difference in by_part.items()
        },
    )


def _compared(workload: Workload, prepared: PreparedWorkload) -> list[tuple[Callable[[], Any], Any]]:
    """Whole passes, and what eager PyTorch gives. A backend that converts no parts leaves the model as it is."""
    if prepared.run is None:
        return [(prepared.forward, workload.forward())]
    runs = [partial(prepared.run, some) for some in (workload.forward, *workload.examples)]
    return list(zip(runs, prepared.outputs, strict=True))


def why_unequal(equality: Equality) -> str | None:
    """Why a latency would be that of another model; None if the outputs are equal within the tolerance."""
    if equality.within_tolerance:
        return None
    broken = max(equality.largest_by_part, key=lambda name: _or_infinite(equality.largest_by_part[name]))
    apart = equality.largest_by_part[broken]
    words = "in shape, type or which values are finite" if apart is None else f"by {apart:.2g} of its largest value"
    return f"the output of {broken} differs from eager PyTorch's {words}; at most {equality.tolerance:g} is allowed"


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value

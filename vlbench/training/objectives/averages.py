"""What an objective's parts come to."""

from __future__ import annotations

from torch import Tensor


def mean(values: Tensor) -> Tensor:
    """The mean over all numbers, (); of none it is 0, through which a gradient of 0 still reaches what made them.

    So an objective that a batch has nothing for leaves every parameter with a gradient, which
    DistributedDataParallel waits for.
    """
    return values.sum() / max(values.numel(), 1)

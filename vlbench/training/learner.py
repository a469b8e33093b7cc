"""What can be trained, and on what: anything that gives losses of a batch, and anything that gives batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Of one micro-batch.

    Attributes:
        total: () float, what is minimised: the mean over the samples of the micro-batch.
        parts: () each, by name, unweighted; for the display and the curve. A name may be missing in some batches.
        right: () how many answers were right; None where nothing is answered.
        asked: how many were asked.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    right: Tensor | None = None
    asked: int = 0


class Learner(Protocol):
    """A model with its objectives.

    `module` holds everything that is trained, heads of objectives included, on the device where it is trained. It is
    put into training mode once; what must stay in evaluation mode keeps itself there (overrides `train`).
    """

    @property
    def module(self) -> nn.Module: ...

    def losses(self, batch: Any, generator: torch.Generator) -> Losses:
        """Of a batch as the stream gave it, on the CPU; to place it on the device is the learner's.

        What is random comes from `generator`, a CPU generator that is seeded anew at each step, or, as dropout, from
        PyTorch's global one, which is so too.
        """
        ...


class Stream(Protocol):
    """Samples without an end. It is handed to other processes, so it must be picklable."""

    def batch(self, start: int, count: int) -> Any:
        """Samples [start, start + count), the same whenever and wherever they are asked for."""
        ...

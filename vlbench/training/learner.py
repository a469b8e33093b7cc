"""The interfaces of the training loop: a learner gives the losses of a batch, a stream gives the batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The losses of one micro-batch.

    Attributes:
        total: () float, what is minimised: the mean over the samples of the micro-batch.
        parts: () each, unweighted, by name; for progress and the curve. A batch need not have every name.
        correct: () number of questions answered correctly; None where there are no questions.
        questions: how many there were.
    """

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    correct: Tensor | None = None
    questions: int = 0


class Learner(Protocol):
    """A model with its objectives.

    `module` holds everything that is trained, including the heads of objectives, on the device where it is trained. The
    loop puts it into training mode once. A part that must stay in evaluation mode has to override `train`.
    """

    @property
    def module(self) -> nn.Module: ...

    def losses(self, batch: Any, generator: torch.Generator) -> Losses:
        """The losses of a batch from the stream, which is on the CPU; the learner moves it to the device.

        Random choices use `generator`, a CPU generator, or like dropout PyTorch's global generator. The loop seeds both
        at each step.
        """
        ...


class Stream(Protocol):
    """An endless sequence of samples. It is sent to worker processes, so it must be picklable."""

    def batch(self, start: int, count: int) -> Any:
        """Samples [start, start + count); the same in every process and at every call."""
        ...

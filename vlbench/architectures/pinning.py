"""Batches in pinned memory, from where a GPU copies them while the program goes on."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Self

from torch import Tensor


class Pinnable:
    """A dataclass whose tensors, also those in lists and in others of its kind, PyTorch's DataLoader can pin."""

    __slots__ = ()

    def pin_memory(self) -> Self:
        """A copy in pinned memory."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{name: _pinned(value) for name, value in values.items()})  # type: ignore[type-var]


def _pinned(value: Any) -> Any:
    if isinstance(value, list):
        return [_pinned(each) for each in value]
    return value.pin_memory() if isinstance(value, Tensor | Pinnable) else value

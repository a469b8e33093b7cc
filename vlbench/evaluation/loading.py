"""What PyTorch's processes that prepare batches give, and what they say where they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from vlbench.errors import InputError, WorkerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An InputError on its way out of a process; PyTorch would wrap the error itself in a traceback."""

    message: str


def unchanged(found: Any) -> Any:
    """For `collate_fn`: a batch is whole when it is made."""
    return found


def loaded(loader: DataLoader[Any], *, prepares: str) -> Iterator[Any]:
    """What the loader gives, in order.

    Raises InputError in place of what was refused; WorkerError where a process ends without a result.

    Args:
        prepares: what its processes do, for that error.
    """
    try:
        for found in loader:
            if isinstance(found, Refused):
                raise InputError(found.message)
            yield found
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerError(
            f"a process that {prepares} was killed; with less memory per batch or --workers 0 it works"
        ) from error

"""What is kept beside an exported program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What is kept beside a file: the names of its inputs and outputs, its dynamic dimensions, the shapes of the
    others, and the structure of its output."""

    inputs: Sequence[str]
    outputs: Sequence[str]
    dynamic: tuple[frozenset[int], ...]
    shapes: Shapes
    output: Any

    def accepts(self, shapes: Shapes) -> bool:
        """Whether the program computes tensors of these shapes."""
        return all(
            known == given or (len(known) == len(given) and _same_where_fixed(known, given, dynamic))
            for known, given, dynamic in zip(self.shapes, shapes, self.dynamic, strict=True)
        )


def _same_where_fixed(known: Sequence[int], given: Sequence[int], dynamic: frozenset[int]) -> bool:
    return all(
        index in dynamic or mine == theirs for index, (mine, theirs) in enumerate(zip(known, given, strict=True))
    )

"""The regions of an image that a detector found earlier, and where they are read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegions:
    """The regions of one image: features, (R, C) float32; boxes in pixels, left, top, right, bottom, (R, 4) float32."""

    features: NDArray[np.float32]
    boxes: NDArray[np.float32]
    height: int
    width: int


class RegionSource(Protocol):
    """Where the regions of images lie. `read` raises InputError, in one line, where those of an image cannot be had."""

    path: Path

    def __contains__(self, name: object) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, name: str) -> ImageRegions: ...

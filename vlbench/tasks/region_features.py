"""Precomputed region features: the regions that a detector found in an image, and the interface of their files."""

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
    """A file or database of region features by image. `read` raises InputError if it cannot give those of an image."""

    path: Path

    def __contains__(self, name: object) -> bool: ...

    def __len__(self) -> int: ...

    def read(self, name: str) -> ImageRegions: ...

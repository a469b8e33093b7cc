"""Where the tokens of an image lie in it, as its embedder had them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from vlbench.architectures.tokens import Images, RegionFeatures
from vlbench.evaluation.seeing import OneByOne
from vlbench.explain.explanation import Places
from vlbench.specs import Grid, ModelSpec, Patch, Region

if TYPE_CHECKING:
    from vlbench.architectures.region import Regions  # it imports torchvision, which few models need


class Seen:
    """What the visual embedder of a model saw while it was watched.

    Attributes:
        grid: rows and columns of the feature map that became tokens.
        regions: as they went into the projection.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.visual = spec.visual
        self.grid: tuple[int, int] | None = None
        self.regions: Regions | None = None

    def places(self, images: Images | RegionFeatures) -> Places:
        """Of the first image's tokens, padding left out."""
        height, width = images.sizes[0]
        if isinstance(self.visual, Region):
            assert self.regions is not None
            shares_R4 = self.regions.boxes[0].float().cpu().numpy() / np.array([width, height, width, height])
            if self.regions.mask is not None:
                shares_R4 = shares_R4[self.regions.mask[0].cpu().numpy()]
            special = int(self.visual.projection.whole_image)
            return Places(boxes=shares_R4.clip(0, 1).astype(np.float32), special=special, grid=None)
        assert self.grid is not None
        rows, columns = self.grid
        step = self._step()
        boxes = [
            (left * step / width, top * step / height, (left + 1) * step / width, (top + 1) * step / height)
            for top in range(rows)
            for left in range(columns)
        ]
        special = 1 if isinstance(self.visual, Patch) else 0
        return Places(boxes=np.array(boxes, np.float32).clip(0, 1), special=special, grid=self.grid)

    def _step(self) -> int:
        """Pixels between a cell and the next."""
        if isinstance(self.visual, Patch):
            return self.visual.patch_size
        assert isinstance(self.visual, Grid)
        return self.visual.backbone.stride * self.visual.pool_size


@contextmanager
def watched_places(visual: nn.Module, spec: ModelSpec) -> Iterator[Seen]:
    """Sees how a visual embedder cuts images into tokens while the context lasts; changes nothing."""
    seen = Seen(spec)
    embedder: Any = visual.embedder if isinstance(visual, OneByOne) else visual

    def take_grid(_module: nn.Module, _arguments: Any, map_BCHW: Any) -> None:
        seen.grid = map_BCHW.shape[2], map_BCHW.shape[3]

    def take_regions(_module: nn.Module, arguments: Any) -> None:
        seen.regions = arguments[0]

    if isinstance(spec.visual, Region):
        hook = embedder.projection.register_forward_pre_hook(take_regions)
    elif isinstance(spec.visual, Grid):
        hook = embedder.projection.pool.register_forward_hook(take_grid)
    else:
        hook = embedder.patch.register_forward_hook(take_grid)
    try:
        yield seen
    finally:
        hook.remove()

"""Grid features: the pixels of a CNN's feature map (Pixel-BERT), or their mean (VSE++)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import (
    Images,
    TokenBoxes,
    Tokens,
    VisualEmbedder,
    cell_boxes,
    grid_mask,
    grid_sizes,
    mean_of_real,
)
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.specs import GridSpec, MeanFeatureSpec, TimmSpec


class PixelProjection(nn.Module):
    """Turns a pooled feature map into tokens: pixels, projected, plus one shared semantic embedding (Pixel-BERT, 3.2).

    Args:
        spec: of the embedder.
        inputs: channels that the projection reads; those that the feature map lacks are zero.
    """

    def __init__(self, spec: GridSpec | TimmSpec, *, inputs: int) -> None:
        super().__init__()
        self.sampled_pixels = spec.sampled_pixels
        self.sample_always = spec.sample == "always"
        self.pool = nn.MaxPool2d(spec.pool_size)
        self.linear = nn.Linear(inputs, spec.width)
        self.semantic = nn.Parameter(torch.zeros(spec.width))

    def forward(self, features_BCHW: Tensor, images: Images) -> Tokens:
        pooled = self.pool(features_BCHW)
        mask = grid_mask(images, *pooled.shape[-2:])
        pixels_BLC = pooled.flatten(2).transpose(1, 2)
        if (self.training or self.sample_always) and pixels_BLC.shape[1] > self.sampled_pixels:
            pixels_BLC, mask = self._sample(pixels_BLC, mask)
        missing = self.linear.in_features - pixels_BLC.shape[2]
        if missing:
            pixels_BLC = F.pad(pixels_BLC, (0, missing))
        return Tokens(values=self.linear(pixels_BLC) + self.semantic, mask=mask)

    def _sample(self, pixels_BLC: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A random choice without repetition, in the order of the grid; padding is chosen last."""
        order = torch.rand(pixels_BLC.shape[:2], device=pixels_BLC.device)
        if mask is not None:
            order = order + ~mask
        chosen = order.argsort(dim=1)[:, : self.sampled_pixels].sort(dim=1).values
        picked = pixels_BLC.gather(1, chosen[:, :, None].expand(-1, -1, pixels_BLC.shape[2]))
        return picked, None if mask is None else mask.gather(1, chosen)

    def initialise_random(self, generator: torch.Generator) -> None:
        self.linear.weight.normal_(0, self.linear.in_features**-0.5, generator=generator)
        self.semantic.normal_(0, 0.02, generator=generator)


class MeanProjection(nn.Module):
    """The mean of the feature map's real cells, projected and scaled to length 1 (VSE++, section 3.1)."""

    def __init__(self, spec: MeanFeatureSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.backbone.channels, spec.width)

    def forward(self, features_BCHW: Tensor, images: Images) -> Tokens:
        mask = grid_mask(images, *features_BCHW.shape[-2:])
        mean_BC = mean_of_real(Tokens(values=features_BCHW.flatten(2).transpose(1, 2), mask=mask))
        return Tokens(values=F.normalize(self.linear(mean_BC), dim=1)[:, None], mask=None)

    def initialise_random(self, generator: torch.Generator) -> None:
        self.linear.weight.normal_(0, self.linear.in_features**-0.5, generator=generator)


class CnnEmbedder(VisualEmbedder):
    """A CNN that is trained end to end, and a projection of its last feature map."""

    steps = ("backbone", "projection")

    def __init__(self, backbone: ResNetTrunk, projection: PixelProjection | MeanProjection) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = projection

    def forward(self, images: Images) -> Tokens:
        return self.projection(self.backbone(images.pixels)[-1], images)

    def charged_by_table6(self) -> tuple[list[nn.Module], nn.Linear]:
        return [self.backbone], self.projection.linear


class GridEmbedder(CnnEmbedder):
    """Every pixel of the feature map is a token (Pixel-BERT, section 3.2)."""

    box_source = "projection"

    def __init__(self, spec: GridSpec) -> None:
        projection = PixelProjection(spec, inputs=spec.projection_inputs or spec.backbone.channels)
        super().__init__(ResNetTrunk(spec.backbone), projection)
        self.pool_size = spec.pool_size

    def token_boxes(self, features_BCHW: Tensor, images: Images) -> TokenBoxes:  # type: ignore[override]
        height, width = features_BCHW.shape[-2:]
        (grid, *_) = grid_sizes(images, height // self.pool_size, width // self.pool_size)
        return cell_boxes(grid, self.backbone.stride * self.pool_size, images.sizes[0])


class MeanFeatureEmbedder(CnnEmbedder):
    """The mean of the feature map is the only token (VSE++, section 3.1)."""

    def __init__(self, spec: MeanFeatureSpec) -> None:
        super().__init__(ResNetTrunk(spec.backbone), MeanProjection(spec))

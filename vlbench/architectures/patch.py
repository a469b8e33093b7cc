"""Patch projection, the embedder of ViT and ViLT."""

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
)
from vlbench.specs import PatchSpec


class PatchEmbedder(VisualEmbedder):
    """Cuts an image into patches, projects each, and adds learned positions (ViT, section 3.1).

    Positions for any other grid than the learned one are interpolated bilinearly; [CLS] is the first token.

    Args:
        spec: describes it.
        bias: of the projection.
    """

    steps = ("patch",)
    untimed = ("dropout",)
    ignores_padding = True
    maskable = "patches"
    box_source = ""
    special_tokens = 1

    def __init__(self, spec: PatchSpec, *, bias: bool = True) -> None:
        super().__init__()
        rows, columns = self.position_grid = spec.position_grid
        self.patch_size = spec.patch_size
        self.align_corners = spec.align_corners
        self.patch = nn.Conv2d(3, spec.width, kernel_size=spec.patch_size, stride=spec.patch_size, bias=bias)
        self.patch.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.class_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + rows * columns, spec.width))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, images: Images) -> Tokens:
        patches_BDHW = self.patch(images.pixels.contiguous(memory_format=torch.channels_last))
        batch, _, height, width = patches_BDHW.shape
        positions = grid_positions(
            self.positions[:, 1:], self.position_grid, images, (height, width), align_corners=self.align_corners
        )
        tokens_BLD = patches_BDHW.flatten(2).transpose(1, 2) + positions
        first_B1D = (self.class_token + self.positions[:, :1]).expand(batch, -1, -1)
        mask = grid_mask(images, height, width)
        if mask is not None:
            mask = F.pad(mask, (1, 0), value=True)
        return Tokens(values=self.dropout(torch.cat((first_B1D, tokens_BLD), dim=1)), mask=mask)

    def learned_positions(self) -> nn.Parameter:
        return self.positions

    def token_boxes(self, images: Images) -> TokenBoxes:  # type: ignore[override]
        height, width = images.pixels.shape[-2:]
        (grid, *_) = grid_sizes(images, height // self.patch_size, width // self.patch_size)
        return cell_boxes(grid, self.patch_size, images.sizes[0])

    def charged_by_table6(self) -> tuple[list[nn.Module], nn.Conv2d]:
        return [], self.patch

    def initialise_random(self, generator: torch.Generator) -> None:
        """ViT's 0.02 for class token and positions; a projection that keeps the scale of normalised pixels."""
        fan_in = self.patch.weight[0].numel()
        self.patch.weight.normal_(0, fan_in**-0.5, generator=generator)
        if self.patch.bias is not None:
            self.patch.bias.zero_()
        for table in (self.class_token, self.positions):
            table.normal_(0, 0.02, generator=generator)


def grid_positions(
    learned_1PD: Tensor,
    learned_grid: tuple[int, int],
    images: Images,
    grid: tuple[int, int],
    *,
    align_corners: bool = False,
) -> Tensor:
    """Learned positions for a grid over the batch, (1, H * W, D); for padded images, one set per image, (B, H * W, D).

    Raises RuntimeError if the learned positions are not of `learned_grid`.
    """

    def interpolated(height: int, width: int) -> Tensor:
        table_1DHW = learned_1PD.transpose(1, 2).unflatten(2, learned_grid)
        if (height, width) == learned_grid:
            return table_1DHW
        return F.interpolate(table_1DHW, size=(height, width), mode="bilinear", align_corners=align_corners)

    height, width = grid
    if not images.padded:
        return interpolated(height, width).flatten(2).transpose(1, 2)
    per_image = [
        F.pad(interpolated(rows, columns), (0, width - columns, 0, height - rows))
        for rows, columns in grid_sizes(images, height, width)
    ]
    return torch.cat(per_image).flatten(2).transpose(1, 2)

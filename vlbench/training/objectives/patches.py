"""Masked patch prediction: the mean colour of patches that were hidden (ViLT, section 4.5)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.tokens import Images, grid_mask
from vlbench.training.objectives.averages import mean


def real_patches(images: Images, patch_size: int) -> Tensor:
    """Which patches hold a part of their image, (B, P) bool, row by row; P patches fit into the batch's extent."""
    rows, columns = _grid(images, patch_size)
    mask = grid_mask(images, rows, columns)
    if mask is None:
        return torch.ones(len(images.pixels), rows * columns, dtype=torch.bool, device=images.pixels.device)
    return mask


def with_masked_patches(images: Images, hidden_BP: Tensor, patch_size: int) -> Images:
    """The images with 0 in place of every pixel of the hidden patches: the mean of the normalisation, a grey.

    All that the projection then gives for them is its bias, which so is the embedding of a hidden patch; positions are
    added after. Pixels beyond the last whole patch, which the projection does not read either, stay.
    """
    hidden_B1HW = hidden_BP.to(images.pixels.device).unflatten(1, _grid(images, patch_size))[:, None]
    hidden_B1HW = hidden_B1HW.repeat_interleave(patch_size, dim=2).repeat_interleave(patch_size, dim=3)
    height, width = images.pixels.shape[-2:]
    missing = (0, width - hidden_B1HW.shape[3], 0, height - hidden_B1HW.shape[2])
    pixels = images.pixels.masked_fill(F.pad(hidden_B1HW, missing, value=False), 0)
    return Images(pixels=pixels, sizes=images.sizes)


def patch_colours(images: Images, patch_size: int) -> Tensor:
    """Mean of each patch's normalised pixels, (B, P, 3), row by row; padding within a patch counts as it is."""
    return F.avg_pool2d(images.pixels, patch_size).flatten(2).transpose(1, 2)


def patch_colours_loss(predicted_N3: Tensor, colours_N3: Tensor) -> Tensor:
    """Squared distance of predicted and real mean colour of hidden patches, per channel, (); 0 where none is hidden.

    ViLT regresses the mean RGB value; ViT, whose objective it is, classifies it in 512 bins (appendix B.1.2), and the
    code that ViLT published classifies each channel in 256.
    """
    return mean((predicted_N3.float() - colours_N3.detach().float()).square())


def _grid(images: Images, patch_size: int) -> tuple[int, int]:
    height, width = images.pixels.shape[-2:]
    return height // patch_size, width // patch_size

"""Image-text matching: which texts of a batch are shown the image of another text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vlbench.architectures.interfaces import Images, RegionFeatures

REPLACED_SHARE = 0.5  # of texts (UNITER, section 3.2; ViLT, section 3.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which image each text of a batch is shown with."""

    order: Tensor  # (B,) int64, index of the image in the batch
    matches: Tensor  # (B,) bool, whether it is the text's own image


def replace_images(
    identity_B: Tensor, *, generator: torch.Generator, share: float = REPLACED_SHARE, exact: bool = False
) -> Pairing:
    """Shows some texts another text's image, drawn uniformly from the batch's images that are not their own.

    Args:
        identity_B: (B,) int64, which image each text has; equal where two texts have the same one. A text keeps its
            image where the batch has no other.
        generator: of all choices.
        share: probability that a text is shown another image.
        exact: exactly this share of the texts is, rounded up, as in ViLT's released code (`compute_itm_wpa`); UNITER's
            and LXMERT's draw each text on its own.
    """
    is_other_BB = (identity_B[:, None] != identity_B[None, :]).to(generator.device)
    has_other_B = is_other_BB.any(dim=1)
    weights_BB = torch.where(has_other_B[:, None], is_other_BB, True).float()
    other_B = torch.multinomial(weights_BB, 1, generator=generator).squeeze(1)
    draws_B = torch.rand(len(identity_B), generator=generator, device=generator.device)
    if exact:  # the texts of the lowest draws; those without another image come last
        draws_B = torch.where(has_other_B, draws_B, 2).argsort().argsort() / len(draws_B)
    matches_B = (draws_B >= share) | ~has_other_B
    order_B = torch.where(matches_B, torch.arange(len(identity_B), device=generator.device), other_B)
    return Pairing(order=order_B.to(identity_B.device), matches=matches_B.to(identity_B.device))


def reordered_images(images: Images, order_B: Tensor) -> Images:
    """The images of a batch at these indices."""
    sizes = tuple(images.sizes[index] for index in order_B.tolist())
    return Images(pixels=images.pixels[order_B.to(images.pixels.device, non_blocking=True)], sizes=sizes)


def reordered_regions(regions: RegionFeatures, order_B: Tensor) -> RegionFeatures:
    """The regions of the images at these indices."""
    indices_B = order_B.to(regions.features.device, non_blocking=True)
    return RegionFeatures(
        features=regions.features[indices_B],
        boxes=regions.boxes[indices_B],
        sizes=tuple(regions.sizes[index] for index in order_B.tolist()),
        mask=None if regions.mask is None else regions.mask[indices_B],
    )

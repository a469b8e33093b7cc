"""Image-text matching: does the image belong to the text?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.tokens import Images, RegionFeatures
from vlbench.training.objectives.averages import mean

SHARE = 0.5  # of texts whose image is another's (UNITER, section 3.2; ViLT, section 3.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Which image each text of a batch is shown with."""

    order: Tensor  # (B,) int64, the place of the image in the batch
    matches: Tensor  # (B,) bool, whether it is the text's own


def replace_images(identity_B: Tensor, *, generator: torch.Generator, share: float = SHARE) -> Pairing:
    """Shows texts the image of another, drawn evenly from those of the batch that are not their own.

    Args:
        identity_B: (B,) int64, which image each text has; equal where two texts have the same one. A text keeps its
            image where the batch has no other.
        generator: of all choices.
        share: probability of a text to be shown another's image.
    """
    other_BB = (identity_B[:, None] != identity_B[None, :]).to(generator.device)
    has_other_B = other_BB.any(dim=1)
    weights_BB = torch.where(has_other_B[:, None], other_BB, True).float()
    another_B = torch.multinomial(weights_BB, 1, generator=generator).squeeze(1)
    draws_B = torch.rand(len(identity_B), generator=generator, device=generator.device)
    matches_B = (draws_B >= share) | ~has_other_B
    order_B = torch.where(matches_B, torch.arange(len(identity_B), device=generator.device), another_B)
    return Pairing(order=order_B.to(identity_B.device), matches=matches_B.to(identity_B.device))


def in_order(images: Images, order_B: Tensor) -> Images:
    """The images of a batch in another order."""
    sizes = tuple(images.sizes[place] for place in order_B.tolist())
    return Images(pixels=images.pixels[order_B.to(images.pixels.device)], sizes=sizes)


def regions_in_order(found: RegionFeatures, order_B: Tensor) -> RegionFeatures:
    """The regions of a batch in another order of its images."""
    places_B = order_B.to(found.features.device)
    return RegionFeatures(
        features=found.features[places_B],
        boxes=found.boxes[places_B],
        sizes=tuple(found.sizes[place] for place in order_B.tolist()),
        mask=None if found.mask is None else found.mask[places_B],
    )


def matching_loss(logits_B2: Tensor, matches_B: Tensor) -> Tensor:
    """Cross-entropy of "does not match" and "matches", (); 0 without pairs (UNITER, section 3.2; ViLT, section 3.2)."""
    return mean(F.cross_entropy(logits_B2.float(), matches_B.long(), reduction="none"))

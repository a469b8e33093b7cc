"""Optimal transport between words and image tokens: how much of which word each patch or region stands for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Tokens, whole_mask


def cost(words_BLD: Tensor, image_BRD: Tensor) -> Tensor:
    """Cosine distance of every word to every image token, 0 to 2, (B, L, R) float32 (UNITER, section 3.2).

    It is computed in float32 under autocast, too; gradients flow through it. A token of length 0 is at distance 1 from
    all others.
    """
    with torch.autocast(words_BLD.device.type, enabled=False):
        words_BLD, image_BRD = (F.normalize(values.float(), dim=2) for values in (words_BLD, image_BRD))
        return 1 - words_BLD @ image_BRD.transpose(1, 2)


@torch.no_grad()
def transport_plan(
    cost_BLR: Tensor, word_mask: Tensor | None, image_mask: Tensor | None, *, beta: float = 0.5, iterations: int = 50
) -> Tensor:
    """The cheapest way to move the words' mass onto the image, nearly: IPOT (Xie et al. 2018, algorithm 1).

    Every real word of a text carries the same mass, and every real image token takes the same; both sum to 1. Words
    keep their mass but for rounding; the image's shares approach theirs as the iterations go on. A pair without a real
    word or a real image token has a plan of zeros. No gradient flows through a plan, as in the code that UNITER and
    ViLT published.

    Args:
        cost_BLR: of moving mass from word to image token; any unit, to which `beta` belongs.
        word_mask: (B, L) bool, True = takes part; None where all do.
        image_mask: (B, R) bool, likewise.
        beta: step size of the proximal point method; less is faster and numerically harder.
        iterations: outer ones, of one inner step each; 50 to train with, 1,000 to look at a plan (ViLT, section 4.7).

    Returns:
        (B, L, R) float32, at least 0, and 0 wherever word or image token is masked.
    """
    with torch.autocast(cost_BLR.device.type, enabled=False):
        costs = cost_BLR.float()
        words_BL, image_BR = (
            costs.new_ones(costs.shape[0], length) if mask is None else mask.to(costs.dtype)
            for mask, length in ((word_mask, costs.shape[1]), (image_mask, costs.shape[2]))
        )
        plan = words_BL[:, :, None] * image_BR[:, None, :]
        kernel = torch.exp(-costs / beta)
        word_share_BL1, image_share_B1R = (
            _shares(plan.amax(dim=2, keepdim=True)),
            _shares(plan.amax(dim=1, keepdim=True)),
        )
        word_scale_BL1 = word_share_BL1
        for _ in range(iterations):  # in place, which takes a quarter of the time
            plan.mul_(kernel)
            image_scale_B1R = _divided(image_share_B1R, word_scale_BL1.transpose(1, 2) @ plan)
            word_scale_BL1 = _divided(word_share_BL1, plan @ image_scale_B1R.transpose(1, 2))
            plan.mul_(word_scale_BL1).mul_(image_scale_B1R)
        return plan


def alignment_distance(words: Tokens, image: Tokens, *, beta: float = 0.5, iterations: int = 50) -> Tensor:
    """What moving each text onto its image costs, (B,) float32, 0 to 2: the inner product of plan and cost.

    The gradient reaches words and image through the cost, not through the plan. A pair that has no real word or no real
    image token costs 0.
    """
    word_mask, image_mask = whole_mask(words), whole_mask(image)
    costs = cost(words.values, image.values)
    plan = transport_plan(costs, word_mask, image_mask, beta=beta, iterations=iterations)
    return (plan * costs).sum(dim=(1, 2))


def alignment_loss(
    words: Tokens, image: Tokens, matches_B: Tensor | None = None, *, beta: float = 0.5, iterations: int = 50
) -> Tensor:
    """Word-region (UNITER, section 3.2) or word-patch alignment (ViLT, section 3.2), () float32.

    The papers add 0.1 of it to the loss of image-text matching and speak of the distance alone. What both published
    goes further: a text is drawn towards the image that it belongs to and pushed away from one that it does not belong
    to, (sum over matching pairs - sum over the others) / all pairs. Give `matches_B` for that.

    Args:
        words, image: tokens after they met; what their masks leave out takes no part. Both published codes leave out
            padding. ViLT's (`compute_itm_wpa`) leaves out [CLS] and [SEP] of the text and [CLS] of the image as well,
            which `without_ends` and `without_first` do; UNITER's (`itm_ot_collate`) keeps [CLS] and [SEP].
        matches_B: (B,) bool, whether the image is the text's own; None where all are.
    """
    distance_B = alignment_distance(words, image, beta=beta, iterations=iterations)
    if matches_B is not None:
        distance_B = torch.where(matches_B, distance_B, -distance_B)
    return distance_B.sum() / max(len(distance_B), 1)


def without_ends(text: Tokens) -> Tokens:
    """The text whose mask leaves out its first token, [CLS], and its last real one, [SEP]; padding comes after both."""
    mask = whole_mask(text)
    last_B1 = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    mask = mask.scatter(1, last_B1, False)
    return without_first(Tokens(values=text.values, mask=mask))


def without_first(tokens: Tokens) -> Tokens:
    """The tokens whose mask leaves out the first, an image's [CLS]."""
    mask = whole_mask(tokens).clone()
    mask[:, 0] = False
    return Tokens(values=tokens.values, mask=mask)


def _shares(takes_part: Tensor) -> Tensor:
    """Equal shares over what takes part in each pair, summing to 1 or, where nothing does, to 0."""
    return takes_part / takes_part.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def _divided(share: Tensor, by: Tensor) -> Tensor:
    """The quotient, and 0 where nothing is to be shared."""
    return torch.where(share > 0, share / by, 0)

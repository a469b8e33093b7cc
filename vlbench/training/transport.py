"""Optimal transport between words and image tokens: word-region and word-patch alignment."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Tokens, whole_mask


def cosine_distance(words_BLD: Tensor, image_BRD: Tensor) -> Tensor:
    """Cosine distance of every word to every image token, 0 to 2, (B, L, R) float32 (UNITER, section 3.2).

    Computed in float32, also under autocast. A vector of length 0 has distance 1 to all others.
    """
    with torch.autocast(words_BLD.device.type, enabled=False):
        words_BLD, image_BRD = (F.normalize(values.float(), dim=2) for values in (words_BLD, image_BRD))
        return 1 - words_BLD @ image_BRD.transpose(1, 2)


@torch.no_grad()
def transport_plan(
    cost_BLR: Tensor, word_mask: Tensor | None, image_mask: Tensor | None, *, beta: float = 0.5, iterations: int = 50
) -> Tensor:
    """An approximately optimal transport plan from words to image tokens: IPOT (Xie et al. 2018, algorithm 1).

    Every real word of a text has the same mass, and every real image token receives the same; both sum to 1. The sums
    over words are exact up to rounding, those over image tokens approach their value as iterations go on. A pair
    without a real word or a real image token has a plan of zeros. No gradient flows through the plan, as in UNITER's
    and ViLT's published code.

    Args:
        cost_BLR: of moving mass from a word to an image token, in the unit of `beta`.
        word_mask: (B, L) bool, True = a real word; None where all are.
        image_mask: (B, R) bool, likewise.
        beta: step size of the proximal point method; smaller ones converge faster but are numerically harder.
        iterations: outer iterations, with one inner step each; 50 for training, 1,000 for figures (ViLT, section 4.7).

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
            _equal_shares(plan.amax(dim=2, keepdim=True)),
            _equal_shares(plan.amax(dim=1, keepdim=True)),
        )
        word_scale_BL1 = word_share_BL1
        for _ in range(iterations):  # in place, which is four times as fast
            plan.mul_(kernel)
            image_scale_B1R = _quotient(image_share_B1R, word_scale_BL1.transpose(1, 2) @ plan)
            word_scale_BL1 = _quotient(word_share_BL1, plan @ image_scale_B1R.transpose(1, 2))
            plan.mul_(word_scale_BL1).mul_(image_scale_B1R)
        return plan


def alignment_distance(words: Tokens, image: Tokens, *, beta: float = 0.5, iterations: int = 50) -> Tensor:
    """The cost of moving each text to its image, (B,) float32, 0 to 2: the inner product of plan and cost.

    The gradient flows through the cost, not through the plan. A pair without a real word or image token costs 0.
    """
    word_mask, image_mask = whole_mask(words), whole_mask(image)
    costs = cosine_distance(words.values, image.values)
    plan = transport_plan(costs, word_mask, image_mask, beta=beta, iterations=iterations)
    return (plan * costs).sum(dim=(1, 2))


def alignment_loss(
    words: Tokens, image: Tokens, matches_B: Tensor | None = None, *, beta: float = 0.5, iterations: int = 50
) -> Tensor:
    """Word-region (UNITER, section 3.2) or word-patch alignment (ViLT, section 3.2), () float32.

    The papers add 0.1 times the mean distance to the loss of image-text matching. Their published code also pushes
    texts away from images that do not match: (sum over matching pairs - sum over the others) / number of pairs. That is
    what `matches_B` does.

    Args:
        words, image: joint tokens; those that are masked out take no part. Both published codes mask out padding.
            ViLT's (`compute_itm_wpa`) also masks out [CLS] and [SEP] of the text and [CLS] of the image, as
            `without_ends` and `without_first` do; UNITER's (`itm_ot_collate`) keeps [CLS] and [SEP]. Training follows
            each for its family.
        matches_B: (B,) bool, whether the image is the text's own; None where all are.
    """
    distance_B = alignment_distance(words, image, beta=beta, iterations=iterations)
    if matches_B is not None:
        distance_B = torch.where(matches_B, distance_B, -distance_B)
    return distance_B.sum() / max(len(distance_B), 1)


def without_ends(text: Tokens) -> Tokens:
    """The text with its first token, [CLS], and its last real one, [SEP], masked out; padding comes after both."""
    mask = whole_mask(text)
    last_B1 = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    mask = mask.scatter(1, last_B1, False)
    return without_first(Tokens(values=text.values, mask=mask))


def without_first(tokens: Tokens, count: int = 1) -> Tokens:
    """The tokens with the first ones, by default [CLS] alone, masked out."""
    mask = whole_mask(tokens).clone()
    mask[:, :count] = False
    return Tokens(values=tokens.values, mask=mask)


def _equal_shares(real: Tensor) -> Tensor:
    """Equal shares for the real tokens of each pair; they sum to 1, or to 0 where there are none."""
    return real / real.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def _quotient(share: Tensor, divisor: Tensor) -> Tensor:
    """The quotient, and 0 where the share is 0."""
    return torch.where(share > 0, share / divisor, 0)

"""Losses over a batch of texts and images, of which each text belongs to the image of the same place."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_of_hinges(scores_BB: Tensor, *, margin: float) -> Tensor:
    """Every negative that comes within the margin of its positive counts (VSE++, section 3.1). (), not averaged

    Args:
        scores_BB: of every text (row) with every image (column); those that belong together lie on the diagonal.
        margin: how much higher a positive must score; 0.2 in VSE++ and SCAN.
    """
    of_images, of_texts = _hinges(scores_BB, margin)
    return of_images.sum() + of_texts.sum()


def max_of_hinges(scores_BB: Tensor, *, margin: float) -> Tensor:
    """Of the negatives of each text and of each image the hardest alone counts (VSE++, section 3.2). ()

    The hardest are looked for within the batch. Arguments as of `sum_of_hinges`.
    """
    of_images, of_texts = _hinges(scores_BB, margin)
    return of_images.amax(dim=1).sum() + of_texts.amax(dim=0).sum()


def _hinges(scores_BB: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """What each wrong image costs its text (a row), and each wrong text its image (a column), each (B, B)."""
    positive_B = scores_BB.diagonal()
    right_BB = torch.eye(len(scores_BB), dtype=torch.bool, device=scores_BB.device)
    of_images = (margin + scores_BB - positive_B[:, None]).clamp(min=0).masked_fill(right_BB, 0)
    of_texts = (margin + scores_BB - positive_B[None, :]).clamp(min=0).masked_fill(right_BB, 0)
    return of_images, of_texts

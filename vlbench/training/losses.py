"""Losses of the objectives: answers, masked language modelling, masked patch prediction (ViLT, section 4.5), masked
region modelling (UNITER, section 3.2), image-text matching, and hinge losses. Each is a mean, and 0 where there is
nothing to average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Images, RegionFeatures, grid_mask
from vlbench.architectures.region import Regions
from vlbench.architectures.roi_heads import RoIHead


def answers_loss(logits_BA: Tensor, answers_B: Tensor) -> Tensor:
    """Cross-entropy of the one right answer, (). What has none in the set, -1, is left out; 0 where none has."""
    known_B = answers_B >= 0
    return mean(F.cross_entropy(logits_BA[known_B].float(), answers_B[known_B], reduction="none"))


def soft_answers_loss(logits_BA: Tensor, scores_BA: Tensor) -> Tensor:
    """Binary cross-entropy of every answer with its soft score, summed over answers, mean over questions, ().

    VQA's answers are right in part (UNITER, section 4; ViLT, section 4.3). 0 without questions.

    Args:
        logits_BA: of each answer.
        scores_BA: of each answer, 0 to 1.
    """
    each_BA = F.binary_cross_entropy_with_logits(logits_BA.float(), scores_BA.float(), reduction="none")
    return mean(each_BA.sum(dim=1))


def mean(values: Tensor) -> Tensor:
    """The mean over all numbers, (); of none it is 0, through which a gradient of 0 still reaches what made them.

    So an objective that a batch has nothing for leaves every parameter with a gradient, which
    DistributedDataParallel waits for.
    """
    return values.sum() / max(values.numel(), 1)


def masked_words_loss(logits_NV: Tensor, wanted_N: Tensor) -> Tensor:
    """Cross-entropy of the hidden pieces, their mean, (); 0 where none is hidden (BERT, section 3.1).

    Args:
        logits_NV: of every piece of the vocabulary at each hidden place, in the order of `wanted_N`.
        wanted_N: ids of what stood there, `MaskedText.wanted`.
    """
    return mean(F.cross_entropy(logits_NV.float(), wanted_N, reduction="none"))


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


Found = TypeVar("Found", Regions, RegionFeatures)


def with_masked_regions(found: Found, hidden_BR: Tensor, embedding_C: Tensor | None = None) -> Found:
    """The regions with the features of the hidden ones 0, or a learned embedding; they keep their boxes.

    UNITER says zeros (section 3.2) and adds an embedding to them in its published code.
    """
    hidden_BR1 = hidden_BR[:, :, None]
    if embedding_C is None:
        features = found.features.masked_fill(hidden_BR1, 0)
    else:
        features = torch.where(hidden_BR1, embedding_C.to(found.features.dtype), found.features)
    if isinstance(found, Regions):
        return Regions(features=features, boxes=found.boxes, confidence=found.confidence, mask=found.mask)
    return RegionFeatures(features=features, boxes=found.boxes, sizes=found.sizes, mask=found.mask)


def region_features_loss(predicted_NC: Tensor, features_NC: Tensor) -> Tensor:
    """MRFR: the squared distance of predicted and real features of hidden regions, per channel, ().

    The paper sums over channels; the mean, which its published code takes, does not depend on their number. The real
    features are a target: no gradient reaches them.
    """
    return mean((predicted_NC.float() - features_NC.detach().float()).square())


def region_classes_loss(logits_NK: Tensor, distribution_NK: Tensor, *, background: int | None = -1) -> Tensor:
    """MRC: cross-entropy with the class that the detector is surest of, ().

    Args:
        logits_NK: of each class for each hidden region.
        distribution_NK: the detector's class probabilities of the same regions, of `class_distribution`.
        background: the class that is no target, by default the last; None where there is none.
    """
    scores_NK = distribution_NK.detach().clone()
    if background is not None:
        scores_NK[:, background] = -1
    return mean(F.cross_entropy(logits_NK.float(), scores_NK.argmax(dim=1), reduction="none"))


def region_distribution_loss(logits_NK: Tensor, distribution_NK: Tensor) -> Tensor:
    """MRC-kl: the Kullback-Leibler divergence of the predicted class distribution from the detector's, in nats, ().

    The sum over classes as the paper has it; its published code divides by their number.

    Args:
        logits_NK: of each class for each hidden region.
        distribution_NK: the detector's, each row summing to 1, as `class_distribution` gives it.
    """
    predicted_NK = logits_NK.float().log_softmax(dim=1)
    return mean(F.kl_div(predicted_NK, distribution_NK.detach().float(), reduction="none").sum(dim=1))


@torch.no_grad()
def class_distribution(roi_head: RoIHead, features_BRC: Tensor) -> Tensor:
    """The detector's class probabilities of regions, the background last, (..., classes + 1) float32.

    A region's feature is what the detector's own classifier reads, so nothing but features need be kept of a detector's
    run. Raises ValueError where the head has no classifier.
    """
    if roi_head.classifier is None:
        raise ValueError("this detector has no classes; masked region classification needs some")
    return roi_head.classifier(features_BRC).float().softmax(dim=-1)

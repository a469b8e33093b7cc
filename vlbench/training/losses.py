"""Losses of the objectives: answers, masked language modelling, masked patch prediction (ViLT, section 4.5), masked
region modelling (UNITER, section 3.2), image-text matching, and hinge losses. All but the hinge losses are means, and 0
where there is nothing to average."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.interfaces import Images
from vlbench.architectures.roi_heads import RoIHead


def mean(values: Tensor) -> Tensor:
    """The mean of all values, (). For an empty tensor it is 0, and still sends a gradient of 0 back.

    So every parameter has a gradient even if the batch has nothing for an objective, as DistributedDataParallel needs.
    """
    return values.sum() / max(values.numel(), 1)


def answers_loss(logits_BA: Tensor, answers_B: Tensor) -> Tensor:
    """Cross-entropy of the right answer, (). Questions whose answer is not among the A, -1, are left out."""
    known_B = answers_B >= 0
    return mean(F.cross_entropy(logits_BA[known_B].float(), answers_B[known_B], reduction="none"))


def soft_answers_loss(logits_BA: Tensor, scores_BA: Tensor) -> Tensor:
    """Binary cross-entropy of every answer with its soft score, summed over answers, mean over questions, ().

    VQA's answers can be partly right (UNITER, section 4; ViLT, section 4.3).

    Args:
        logits_BA: of each answer.
        scores_BA: of each answer, 0 to 1.
    """
    each_BA = F.binary_cross_entropy_with_logits(logits_BA.float(), scores_BA.float(), reduction="none")
    return mean(each_BA.sum(dim=1))


def masked_words_loss(logits_NV: Tensor, target_ids_N: Tensor) -> Tensor:
    """Mean cross-entropy of the masked word pieces, () (BERT, section 3.1).

    Args:
        logits_NV: of every piece of the vocabulary at each masked position.
        target_ids_N: ids of the original pieces, `MaskedText.target_ids`.
    """
    return mean(F.cross_entropy(logits_NV.float(), target_ids_N, reduction="none"))


LEVELS = 256  # of a channel


def patch_levels(images: Images, patch_size: int, *, mean: Tensor, std: Tensor) -> Tensor:
    """The level, 0 to 255, of each patch's mean red, green and blue, (B, P, 3) int64, row by row.

    Padding inside a patch is averaged, too.

    Args:
        mean, std: (3,), by which the pixels are normalised.
    """
    means_B3P = F.avg_pool2d(images.pixels, patch_size).flatten(2) * std[:, None] + mean[:, None]
    return (255 * means_B3P + ROUNDING).long().clamp(0, LEVELS - 1).transpose(1, 2)


ROUNDING = 1e-3  # so that a patch of one level has that level, not the one below


def patch_levels_loss(logits_N3K: Tensor, levels_N3: Tensor) -> Tensor:
    """Cross-entropy of the level of each channel of the masked patches, mean over channels and patches, ().

    As in ViLT's released code (`compute_mpp`); its paper (section 4.5) regresses the mean RGB value. ViT, whose
    objective it is, classifies 512 colours (appendix B.1.2).
    """
    return mean(F.cross_entropy(logits_N3K.float().flatten(0, 1), levels_N3.flatten(), reduction="none"))


def region_features_loss(predicted_NC: Tensor, features_NC: Tensor) -> Tensor:
    """MRFR: squared error of the features of masked regions, mean over channels and regions, ().

    The paper sums over channels. The mean, as in its published code, does not depend on their number. No gradient
    reaches the features.
    """
    return mean((predicted_NC.float() - features_NC.detach().float()).square())


def region_classes_loss(logits_NK: Tensor, distribution_NK: Tensor, *, background: int | None = -1) -> Tensor:
    """MRC: cross-entropy with the class to which the detector gives the highest probability, ().

    Args:
        logits_NK: of each class for each masked region.
        distribution_NK: the detector's class probabilities for the same regions, from `class_distribution`.
        background: the class that is never a target, by default the last; None where there is none.
    """
    scores_NK = distribution_NK.detach().clone()
    if background is not None:
        scores_NK[:, background] = -1
    return mean(F.cross_entropy(logits_NK.float(), scores_NK.argmax(dim=1), reduction="none"))


def region_distribution_loss(logits_NK: Tensor, distribution_NK: Tensor) -> Tensor:
    """MRC-kl: Kullback-Leibler divergence of the predicted class distribution from the detector's, in nats, ().

    Summed over classes as in the paper; its published code divides by their number.

    Args:
        logits_NK: of each class for each masked region.
        distribution_NK: the detector's class probabilities, from `class_distribution`; each row sums to 1.
    """
    predicted_NK = logits_NK.float().log_softmax(dim=1)
    return mean(F.kl_div(predicted_NK, distribution_NK.detach().float(), reduction="none").sum(dim=1))


@torch.no_grad()
def class_distribution(roi_head: RoIHead, features_BRC: Tensor) -> Tensor:
    """The detector's class probabilities of regions, the background last, (..., classes + 1) float32.

    The detector's classifier reads only a region's feature, so precomputed features are enough. Raises ValueError where
    the head has no classifier.
    """
    if roi_head.classifier is None:
        raise ValueError("this detector has no classes; masked region classification needs some")
    return roi_head.classifier(features_BRC).float().softmax(dim=-1)


def matching_loss(logits_B2: Tensor, matches_B: Tensor) -> Tensor:
    """Cross-entropy of "does not match" and "matches", () (UNITER, section 3.2; ViLT, section 3.2)."""
    return mean(F.cross_entropy(logits_B2.float(), matches_B.long(), reduction="none"))


def sum_of_hinges(scores_BB: Tensor, *, margin: float) -> Tensor:
    """The summed cost of every negative within the margin of its positive, () (VSE++, section 3.1).

    Args:
        scores_BB: of every text (row) with every image (column); matching pairs are on the diagonal.
        margin: how much higher a positive must score; 0.2 in VSE++ and SCAN.
    """
    of_images, of_texts = _hinges(scores_BB, margin)
    return of_images.sum() + of_texts.sum()


def max_of_hinges(scores_BB: Tensor, *, margin: float) -> Tensor:
    """The summed cost of the hardest negative of each text and of each image, () (VSE++, section 3.2).

    Negatives are those of the batch. Arguments as of `sum_of_hinges`.
    """
    of_images, of_texts = _hinges(scores_BB, margin)
    return of_images.amax(dim=1).sum() + of_texts.amax(dim=0).sum()


def _hinges(scores_BB: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The cost of each wrong image for its text (row), and of each wrong text for its image (column), each (B, B)."""
    positive_B = scores_BB.diagonal()
    right_BB = torch.eye(len(scores_BB), dtype=torch.bool, device=scores_BB.device)
    of_images = (margin + scores_BB - positive_B[:, None]).clamp(min=0).masked_fill(right_BB, 0)
    of_texts = (margin + scores_BB - positive_B[None, :]).clamp(min=0).masked_fill(right_BB, 0)
    return of_images, of_texts

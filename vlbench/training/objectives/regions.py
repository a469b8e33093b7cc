"""Masked region modelling (UNITER, section 3.2). Every loss is a mean over the hidden regions, and 0 where none is."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.region import Regions
from vlbench.architectures.roi_heads import RoIHead
from vlbench.architectures.tokens import RegionFeatures
from vlbench.training.objectives.averages import mean

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

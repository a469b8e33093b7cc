"""Which of a detector's boxes become regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlbench.architectures.roi_heads import Classified
from vlbench.architectures.suppression import METHODS
from vlbench.architectures.tokens import RegionFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The most confident boxes of each image and their features; `mask` is None where every image has all R."""

    features: Tensor  # (B, R, C)
    boxes: Tensor  # (B, R, 4) float32, in pixels
    confidence: Tensor  # (B, R) float32
    mask: Tensor | None  # (B, R) bool, True = real

    def precomputed(self, sizes: tuple[tuple[int, int], ...]) -> RegionFeatures:
        """The same regions for a model that is to read them in place of pixels, with no gradient behind them.

        Args:
            sizes: height, width of each image, in pixels.
        """
        return RegionFeatures(features=self.features.detach(), boxes=self.boxes.detach(), sizes=sizes, mask=self.mask)


class RegionSelection(nn.Module):
    """Suppresses overlapping boxes and keeps the most confident (bottom-up attention, section 3.1).

    Args:
        method: `per_class_loop`, `per_class_batched` (the same boxes) or `class_agnostic`.
        iou: overlap above which the lower of two boxes goes.
        regions: R, boxes that stay.
    """

    def __init__(self, *, method: str, iou: float, regions: int) -> None:
        super().__init__()
        self.suppress = METHODS[method]
        self.iou = iou
        self.regions = regions

    def forward(self, classified: Classified) -> Regions:
        chosen, confidence = [], []
        for boxes, scores in zip(classified.boxes, classified.scores, strict=True):
            # Without values nothing can be suppressed, and only the number of regions matters.
            confidences = scores.amax(1) if scores.is_meta else self.suppress(boxes, scores, self.iou)
            best = confidences.topk(min(self.regions, len(boxes)))
            chosen.append(best.indices)
            confidence.append(best.values)
        return in_rows(classified, self.regions, confidence, chosen)


def every_region(classified: Classified, regions: int = 0) -> Regions:
    """All boxes without a choice, each as confident as any; at least so many rows, or as many as an image has boxes."""
    rows = max(regions, *(len(boxes) for boxes in classified.boxes))
    confidence = [torch.ones_like(boxes[:, 0]) for boxes in classified.boxes]
    return in_rows(classified, rows, confidence)


def in_rows(
    classified: Classified, rows: int, confidence: Sequence[Tensor], chosen: Sequence[Tensor] | None = None
) -> Regions:
    """The chosen boxes of each image, by default all, with zeros behind the last where there are fewer than `rows`."""

    def picked(values: Sequence[Tensor]) -> list[Tensor]:
        return list(values) if chosen is None else [some[one] for some, one in zip(values, chosen, strict=True)]

    counts = [len(some) for some in confidence]
    mask = None
    if min(counts) < rows:
        real = [[index < count for index in range(rows)] for count in counts]
        mask = torch.tensor(real, device=confidence[0].device)
    return Regions(
        features=_padded(picked(classified.features), rows),
        boxes=_padded(picked(classified.boxes), rows),
        confidence=_padded(confidence, rows),
        mask=mask,
    )


def _padded(values: Sequence[Tensor], rows: int) -> Tensor:
    """(B, rows, ...) with zeros where an image has fewer."""
    if all(len(value) == rows for value in values):
        return torch.stack(list(values))
    return torch.stack([torch.cat((value, value.new_zeros(rows - len(value), *value.shape[1:]))) for value in values])

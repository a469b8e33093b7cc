"""Non-maximum suppression, and the choice of a detector's boxes that become regions.

There are three suppressions: a loop over the classes, as in the papers; all classes in one batch; and once for all
classes. Each gives the confidence of every box: the highest class score that survives, or 0 (bottom-up attention,
section 3.1, and the extraction of UNITER's features).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, nms

from vlbench.architectures.interfaces import RegionFeatures
from vlbench.architectures.roi_heads import Classified
from vlbench.specs import RegionSelectionSpec

WORD = 62  # boxes a bit field of int64 holds; fewer than 63 keeps every shift within positive numbers


def per_class_loop(boxes_N4: Tensor, scores_NC: Tensor, iou: float) -> Tensor:
    """One torchvision NMS per class, as in the published extractors. (N,) float"""
    confidence = torch.zeros_like(scores_NC[:, 0])
    for scores in scores_NC.unbind(1):
        kept = nms(boxes_N4, scores, iou)
        confidence[kept] = torch.maximum(confidence[kept], scores[kept])
    return confidence


def per_class_batched(boxes_N4: Tensor, scores_NC: Tensor, iou: float) -> Tensor:
    """The same boxes and confidences as `per_class_loop`, all classes at once. (N,) float

    The classes share their boxes, so one overlap matrix serves all. Its rows are bit fields. At each rank every class
    takes its next box, if that is still alive, and strikes out the boxes that it overlaps.
    """
    count, classes = scores_NC.shape
    struck_by = _overlap_fields(boxes_N4, iou)  # (N, words)
    order_NC = scores_NC.argsort(dim=0, descending=True, stable=True)
    word_NC, bit_NC = order_NC // WORD, order_NC % WORD
    struck_CW = struck_by.new_zeros(classes, struck_by.shape[1])
    kept_NC = torch.empty(count, classes, dtype=torch.bool, device=boxes_N4.device)
    for rank in range(count):
        word = struck_CW.gather(1, word_NC[rank, :, None])[:, 0]
        alive = ((word >> bit_NC[rank]) & 1) == 0
        kept_NC[rank] = alive
        struck_CW |= struck_by[order_NC[rank]] * alive[:, None]
    survivors = torch.zeros_like(scores_NC).scatter_(0, order_NC, scores_NC.gather(0, order_NC) * kept_NC)
    return survivors.amax(1)


def class_agnostic(boxes_N4: Tensor, scores_NC: Tensor, iou: float) -> Tensor:
    """One NMS by each box's highest score (VinVL, section 2). (N,) float"""
    scores = scores_NC.amax(1)
    kept = nms(boxes_N4, scores, iou)
    return torch.zeros_like(scores).index_copy_(0, kept, scores[kept])


METHODS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "per_class_loop": per_class_loop,
    "per_class_batched": per_class_batched,
    "class_agnostic": class_agnostic,
}


def _overlap_fields(boxes_N4: Tensor, iou: float) -> Tensor:
    """Bit j of row i is set if box j overlaps box i by more than `iou`; (N, words) int64.

    torchvision's CPU kernel compares its float32 overlap with the threshold in double precision, so this does too.
    """
    overlap = box_iou(boxes_N4, boxes_N4)
    if overlap.device.type == "cpu":
        overlap = overlap.double()
    overlaps = (overlap > iou).fill_diagonal_(False)
    padding = -len(overlaps) % WORD
    fields = torch.nn.functional.pad(overlaps, (0, padding)).unflatten(1, (-1, WORD)).long()
    return (fields << torch.arange(WORD, device=fields.device)).sum(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The most confident boxes of each image and their features; `mask` is None if every image has R."""

    features: Tensor  # (B, R, C)
    boxes: Tensor  # (B, R, 4) float32, in pixels
    confidence: Tensor  # (B, R) float32
    mask: Tensor | None  # (B, R) bool, True = real

    def precomputed(self, sizes: tuple[tuple[int, int], ...]) -> RegionFeatures:
        """The same regions for a model that is to read them in place of pixels, without a gradient.

        Args:
            sizes: height, width of each image, in pixels.
        """
        return RegionFeatures(features=self.features.detach(), boxes=self.boxes.detach(), sizes=sizes, mask=self.mask)


class RegionSelection(nn.Module):
    """Suppresses overlapping boxes and keeps the most confident (bottom-up attention, section 3.1)."""

    convertible_methods = ()
    stays_eager = "selects regions by their scores"

    def __init__(self, spec: RegionSelectionSpec) -> None:
        super().__init__()
        self.suppress = METHODS[spec.method]
        self.iou = spec.iou
        self.regions = spec.regions

    def forward(self, classified: Classified) -> Regions:
        chosen, confidence = [], []
        for boxes, scores in zip(classified.boxes, classified.scores, strict=True):
            # Without values nothing can be suppressed, and only the number of regions matters.
            confidences = scores.amax(1) if scores.is_meta else self.suppress(boxes, scores, self.iou)
            best = confidences.topk(min(self.regions, len(boxes)))
            chosen.append(best.indices)
            confidence.append(best.values)
        return as_regions(classified, self.regions, confidence, chosen)


def keep_all(classified: Classified, regions: int = 0) -> Regions:
    """All boxes as regions of confidence 1, in at least `regions` rows."""
    rows = max(regions, *(len(boxes) for boxes in classified.boxes))
    confidence = [torch.ones_like(boxes[:, 0]) for boxes in classified.boxes]
    return as_regions(classified, rows, confidence)


def as_regions(
    classified: Classified, rows: int, confidence: Sequence[Tensor], chosen: Sequence[Tensor] | None = None
) -> Regions:
    """The chosen boxes of each image, by default all, followed by zeros up to `rows`."""

    def select(per_image: Sequence[Tensor]) -> list[Tensor]:
        if chosen is None:
            return list(per_image)
        return [values[index] for values, index in zip(per_image, chosen, strict=True)]

    counts = [len(values) for values in confidence]
    mask = None
    if min(counts) < rows:
        real = [[index < count for index in range(rows)] for count in counts]
        mask = torch.tensor(real, device=confidence[0].device)
    return Regions(
        features=_padded(select(classified.features), rows),
        boxes=_padded(select(classified.boxes), rows),
        confidence=_padded(confidence, rows),
        mask=mask,
    )


def _padded(values: Sequence[Tensor], rows: int) -> Tensor:
    """(B, rows, ...) with zeros where an image has fewer."""
    if all(len(value) == rows for value in values):
        return torch.stack(list(values))
    return torch.stack([torch.cat((value, value.new_zeros(rows - len(value), *value.shape[1:]))) for value in values])

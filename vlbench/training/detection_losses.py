"""The losses of a Faster R-CNN, with the matching and sampling of boxes before them, and the average precision of its
detections (PASCAL VOC from 2010; COCO at one overlap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from vlbench.architectures.detector import encode
from vlbench.architectures.roi_heads import DELTA_WEIGHTS

BACKGROUND, IGNORED = -1, -2  # in place of an object's index
BETA = 1 / 9  # where smooth L1 changes from quadratic to linear (Faster R-CNN's released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Indices of the sampled boxes of one image; those in `positive` are matched to an object."""

    positive: Tensor  # (P,) int64
    negative: Tensor  # (N,) int64

    @property
    def both(self) -> Tensor:
        """(P + N,) int64, the positive ones first."""
        return torch.cat((self.positive, self.negative))


def match(boxes_N4: Tensor, objects_T4: Tensor, *, foreground: float, background: float, each_object: bool) -> Tensor:
    """The object that each box overlaps most, (N,) int64, or BACKGROUND or IGNORED (Faster R-CNN, section 3.1.2).

    Args:
        boxes_N4, objects_T4: corners in pixels; there may be no object.
        foreground: overlap (IoU) from which a box is matched to the object.
        background: overlap below which it is background; between the two it is ignored.
        each_object: whether the boxes that overlap an object most are matched to it, however small the overlap.
    """
    if not len(objects_T4):
        return boxes_N4.new_full((len(boxes_N4),), BACKGROUND, dtype=torch.long)
    overlap_TN = box_iou(objects_T4, boxes_N4)
    best_N, nearest_N = overlap_TN.max(dim=0)
    matched_N = nearest_N.masked_fill(best_N < foreground, IGNORED).masked_fill(best_N < background, BACKGROUND)
    if each_object:
        most_T1 = overlap_TN.amax(dim=1, keepdim=True)
        chosen_N = ((overlap_TN == most_T1) & (most_T1 > 0)).any(dim=0)
        matched_N = torch.where(chosen_N, nearest_N, matched_N)
    return matched_N


def sample(matched_N: Tensor, *, count: int, positive_share: float, generator: torch.Generator) -> Sampled:
    """A random choice of `count` boxes, at most `positive_share` of them positive, the rest background (section 3.1.3).

    Args:
        matched_N: from `match`.
        count: number of boxes to choose; all where there are fewer.
        generator: a CPU generator.
    """
    (positive,) = torch.where(matched_N >= 0)
    (negative,) = torch.where(matched_N == BACKGROUND)
    positive = _random_choice(positive, int(count * positive_share), generator)
    return Sampled(positive=positive, negative=_random_choice(negative, count - len(positive), generator))


def _random_choice(indices: Tensor, count: int, generator: torch.Generator) -> Tensor:
    order = torch.randperm(len(indices), generator=generator)[:count]
    return indices[order.to(indices.device)]


def proposal_losses(
    objectness_BA: Tensor,
    deltas_BA4: Tensor,
    anchors_A4: Tensor,
    objects: Sequence[Tensor],
    matched: Sequence[Tensor],
    sampled: Sequence[Sampled],
) -> tuple[Tensor, Tensor]:
    """Objectness and box loss, each (), means over all sampled anchors (Faster R-CNN, equation 1).

    Args:
        objectness_BA, deltas_BA4: the network's output for each anchor; objectness before the sigmoid.
        anchors_A4: in pixels, the same for every image.
        objects: of each image, (T, 4), in pixels.
        matched, sampled: of each image's anchors, from `match` and `sample`.
    """
    logits, labels, deltas, targets = [], [], [], []
    for index, (objects_T4, matched_A, chosen) in enumerate(zip(objects, matched, sampled, strict=True)):
        logits.append(objectness_BA[index, chosen.both])
        labels += [torch.ones_like(chosen.positive), torch.zeros_like(chosen.negative)]
        deltas.append(deltas_BA4[index, chosen.positive])
        targets.append(encode(objects_T4[matched_A[chosen.positive]], anchors_A4[chosen.positive]))
    logits_S = torch.cat(logits)
    objectness = F.binary_cross_entropy_with_logits(logits_S, torch.cat(labels).to(logits_S.dtype))
    return objectness, _smooth_l1(torch.cat(deltas), torch.cat(targets), count=len(logits_S))


def region_losses(
    logits_RC: Tensor, deltas_RD: Tensor, boxes_R4: Tensor, labels_R: Tensor, objects_R4: Tensor
) -> tuple[Tensor, Tensor]:
    """Class and box loss, each (), means over all sampled regions (Fast R-CNN, section 2.3).

    Args:
        logits_RC: scores of the classes before the softmax, background last.
        deltas_RD: 4 numbers per region, or 4 per class without background.
        boxes_R4: of the regions, in pixels.
        labels_R: classes, int64; C - 1 is background.
        objects_R4: box of the object that each region is matched to, in pixels; ignored for background.
    """
    classes = F.cross_entropy(logits_RC, labels_R)
    (positive,) = torch.where(labels_R < logits_RC.shape[1] - 1)
    deltas_PK4 = deltas_RD[positive].unflatten(1, (-1, 4))
    class_P = labels_R[positive] if deltas_PK4.shape[1] > 1 else torch.zeros_like(positive)
    deltas_P4 = deltas_PK4[torch.arange(len(positive), device=positive.device), class_P]
    targets_P4 = encode(objects_R4[positive], boxes_R4[positive]) * deltas_RD.new_tensor(DELTA_WEIGHTS)
    return classes, _smooth_l1(deltas_P4, targets_P4, count=len(labels_R))


def _smooth_l1(deltas_N4: Tensor, targets_N4: Tensor, *, count: int) -> Tensor:
    """The sum over all numbers, divided by the number of sampled boxes, () float32."""
    return F.smooth_l1_loss(deltas_N4.float(), targets_N4.float(), beta=BETA, reduction="sum") / max(count, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The boxes that a detector detects in one image. Ground truth has the same form, with scores that are ignored."""

    boxes: Tensor  # (N, 4) float32: x1, y1, x2, y2, in pixels
    classes: Tensor  # (N,) int64
    scores: Tensor  # (N,) float32


def average_precision(detections: Sequence[Detections], truth: Sequence[Detections], *, iou: float = 0.5) -> float:
    """The area under the precision-recall curve, mean over all classes that occur; NaN where none does.

    Boxes are taken by descending score, as in COCO's evaluation. Each is matched to the object of its class and image
    that it overlaps most among those still unmatched, if by at least `iou`. The precision at a recall is the highest at
    that recall or beyond.

    Args:
        detections, truth: of each image.
    """
    classes = sorted({int(label) for objects in truth for label in objects.classes})
    areas = [_class_precision(label, detections, truth, iou) for label in classes]
    return sum(areas) / len(areas) if areas else float("nan")


def _class_precision(label: int, detections: Sequence[Detections], truth: Sequence[Detections], iou: float) -> float:
    hits, scores, objects = [], [], 0
    for detected, expected in zip(detections, truth, strict=True):
        of_class = detected.classes == label
        order = detected.scores[of_class].argsort(descending=True, stable=True)
        targets = expected.boxes[expected.classes == label]
        hits.append(_hits(detected.boxes[of_class][order], targets, iou))
        scores.append(detected.scores[of_class][order].cpu())
        objects += len(targets)
    ranked = torch.cat(hits)[torch.cat(scores).argsort(descending=True, stable=True)].double()
    precision = ranked.cumsum(0) / torch.arange(1, len(ranked) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float((envelope * ranked).sum() / objects)


def _hits(boxes_N4: Tensor, objects_T4: Tensor, iou: float) -> Tensor:
    """Which of one image's boxes, best first, are matched to an object, (N,) bool."""
    hits = torch.zeros(len(boxes_N4), dtype=torch.bool)
    if not len(objects_T4):
        return hits
    overlap_NT = box_iou(boxes_N4, objects_T4).cpu()
    for index, overlap_T in enumerate(overlap_NT):
        best = int(overlap_T.argmax())
        if overlap_T[best] >= iou:
            hits[index] = True
            overlap_NT[:, best] = -1
    return hits

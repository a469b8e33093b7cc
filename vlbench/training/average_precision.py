"""How good a detector is: average precision (PASCAL VOC from 2010; COCO at one overlap)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """What a detector says of one image; the objects in it have the same form, and their scores are not looked at."""

    boxes: Tensor  # (N, 4) float32: x1, y1, x2, y2, in pixels
    classes: Tensor  # (N,) int64
    scores: Tensor  # (N,) float32


def average_precision(found: Sequence[Detections], truth: Sequence[Detections], *, iou: float = 0.5) -> float:
    """The mean over all classes that occur of the area under precision over recall; NaN where no class does.

    In the order of its score each box takes the object of its class and image that it overlaps most of those still
    free, if by `iou` at least, as COCO's own evaluation does; precision at a recall is the highest at that recall or
    beyond, at every recall there is.
    """
    classes = sorted({int(label) for objects in truth for label in objects.classes})
    areas = [_of_class(label, found, truth, iou) for label in classes]
    return sum(areas) / len(areas) if areas else float("nan")


def _of_class(label: int, found: Sequence[Detections], truth: Sequence[Detections], iou: float) -> float:
    hits, scores, objects = [], [], 0
    for seen, there in zip(found, truth, strict=True):
        mine = seen.classes == label
        order = seen.scores[mine].argsort(descending=True, stable=True)
        targets = there.boxes[there.classes == label]
        hits.append(_hits(seen.boxes[mine][order], targets, iou))
        scores.append(seen.scores[mine][order].cpu())
        objects += len(targets)
    ranked = torch.cat(hits)[torch.cat(scores).argsort(descending=True, stable=True)].double()
    true = ranked.cumsum(0)
    precision = true / torch.arange(1, len(ranked) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float((envelope * ranked).sum() / objects)


def _hits(boxes_N4: Tensor, objects_T4: Tensor, iou: float) -> Tensor:
    """Which of one image's boxes, best first, take an object, (N,) bool."""
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

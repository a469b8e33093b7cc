"""Non-maximum suppression of all RoIs for every class: as the papers loop it, in one batch, or once for all classes.

Each function gives the confidence of every box: the highest class score that survived, 0 where none did (bottom-up
attention, section 3.1; UNITER's features were extracted so).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

WORD = 62  # boxes a bit field of int64 holds; fewer than 63 keeps every shift within positive numbers


def per_class_loop(boxes_N4: Tensor, scores_NC: Tensor, iou: float) -> Tensor:
    """One torchvision NMS a class, as the published extractors do it. (N,) float"""
    confidence = torch.zeros_like(scores_NC[:, 0])
    for scores in scores_NC.unbind(1):
        kept = nms(boxes_N4, scores, iou)
        confidence[kept] = torch.maximum(confidence[kept], scores[kept])
    return confidence


def per_class_batched(boxes_N4: Tensor, scores_NC: Tensor, iou: float) -> Tensor:
    """The same boxes and confidences as `per_class_loop`, all classes at once. (N,) float

    The classes share their boxes, so one overlap matrix serves all. Its rows are bit fields; the greedy choice then
    walks once through the ranks, and at each rank every class takes its next box and strikes out what that overlaps.
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
    """Bit j of row i tells whether box j overlaps box i by more than `iou`; (N, words) int64.

    torchvision's CPU kernel compares its float32 overlap with the threshold in double precision, so this does too.
    """
    overlap = box_iou(boxes_N4, boxes_N4)
    if overlap.device.type == "cpu":
        overlap = overlap.double()
    overlaps = (overlap > iou).fill_diagonal_(False)
    padding = -len(overlaps) % WORD
    fields = torch.nn.functional.pad(overlaps, (0, padding)).unflatten(1, (-1, WORD)).long()
    return (fields << torch.arange(WORD, device=fields.device)).sum(2)

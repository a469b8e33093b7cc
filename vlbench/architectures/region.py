"""Region features, the embedder of UNITER and its kin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlbench.architectures.detector import C4RoIHead, Classified, RegionProposalNetwork
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.suppression import METHODS
from vlbench.architectures.tokens import Images, Tokens

GEOMETRY = 7  # x1, y1, x2, y2, width, height, area


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The most confident boxes of each image and their features; `mask` is None where every image has all R."""

    features: Tensor  # (B, R, 2048)
    boxes: Tensor  # (B, R, 4) float32, in pixels
    confidence: Tensor  # (B, R) float32
    mask: Tensor | None  # (B, R) bool, True = real


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
        features, boxes, confidence, counts = [], [], [], []
        for image_boxes, scores, image_features in zip(
            classified.boxes, classified.scores, classified.features, strict=True
        ):
            # Without values nothing can be suppressed, and only the number of regions matters.
            confidences = scores.amax(1) if scores.is_meta else self.suppress(image_boxes, scores, self.iou)
            best = confidences.topk(min(self.regions, len(image_boxes)))
            features.append(image_features[best.indices])
            boxes.append(image_boxes[best.indices])
            confidence.append(best.values)
            counts.append(len(best.indices))
        mask = None
        if min(counts) < self.regions:
            real = [[index < count for index in range(self.regions)] for count in counts]
            mask = torch.tensor(real, device=features[0].device)
        return Regions(
            features=self._padded(features), boxes=self._padded(boxes), confidence=self._padded(confidence), mask=mask
        )

    def _padded(self, values: list[Tensor]) -> Tensor:
        """(B, R, ...) with zeros where an image has fewer than R."""
        if all(len(value) == self.regions for value in values):
            return torch.stack(values)
        out = values[0].new_zeros(len(values), self.regions, *values[0].shape[1:])
        for row, value in zip(out, values, strict=True):
            row[: len(value)] = value
        return out


class RegionProjection(nn.Module):
    """Projects features and geometry, each normalised, and adds the image's segment (UNITER, section 3.1)."""

    def __init__(self, *, width: int, dropout: float, layer_norm_eps: float) -> None:
        super().__init__()
        self.feature = nn.Linear(2048, width)
        self.feature_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.geometry = nn.Linear(GEOMETRY, width)
        self.geometry_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.segment = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BRC: Tensor, geometry_BR7: Tensor) -> Tensor:
        features = self.feature_norm(self.feature(features_BRC))
        places = self.geometry_norm(self.geometry(geometry_BR7))
        return self.dropout(self.norm(features + places + self.segment))


class RegionEmbedder(nn.Module):
    """A detector, the choice of its regions and their projection.

    `load` says what the last forward pass carried, for the least loaded image of the batch.
    """

    def __init__(
        self,
        *,
        backbone: ResNetTrunk,
        rpn: RegionProposalNetwork,
        roi_head: C4RoIHead,
        nms: RegionSelection,
        projection: RegionProjection,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.roi_head = roi_head
        self.nms = nms
        self.projection = projection
        self.load: dict[str, int] = {}

    def forward(self, images: Images) -> Tokens:
        features = self.backbone(images.pixels)
        proposals = self.rpn(features, images)
        classified = self.roi_head(features, proposals.boxes)
        regions = self.nms(classified)
        self.load = self._load(proposals.candidates, classified)
        values = self.projection(regions.features, geometry(regions.boxes, images).to(regions.features.dtype))
        return Tokens(values=values, mask=regions.mask)

    def _load(self, candidates: int, classified: Classified) -> dict[str, int]:
        proposals = min(len(boxes) for boxes in classified.boxes)
        pairs = min(scores.numel() for scores in classified.scores)
        return {
            "rpn_candidates": candidates,
            "proposals": proposals,
            "nms_pairs": pairs,
            "regions": min(self.nms.regions, proposals),
        }

    def declared_load(self, images: Images) -> dict[str, int]:
        """What a forward pass must carry at the least for its latency to mean anything.

        Clipped at the border, a few candidates can be smaller than `min_box_size`; so 95% of them will do.
        """
        height, width = (-(-side // self.backbone.stride) for side in images.pixels.shape[-2:])
        classes = self.roi_head.classifier.out_features - 1
        return {
            "rpn_candidates": math.floor(0.95 * self.rpn.expected_candidates(height, width)),
            "proposals": self.rpn.proposals,
            "nms_pairs": self.rpn.proposals * classes,
            "regions": self.nms.regions,
        }


def geometry(boxes_BR4: Tensor, images: Images) -> Tensor:
    """x1, y1, x2, y2, width, height and area, as shares of the image, (B, R, 7)."""
    sizes = torch.tensor([[w, h, w, h] for h, w in images.sizes], dtype=boxes_BR4.dtype)
    corners = boxes_BR4 / sizes.to(boxes_BR4.device, non_blocking=True)[:, None]
    extent = corners[..., 2:] - corners[..., :2]
    return torch.cat((corners, extent, extent.prod(dim=-1, keepdim=True)), dim=-1)

"""Region features, the embedder of UNITER and its kin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.detector import GridBoxes, RegionProposalNetwork
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import Classified, FeaturePyramid, RoIHead
from vlbench.architectures.suppression import METHODS
from vlbench.architectures.tokens import Images, RegionFeatures, Tokens, in_turn, mean_of_real
from vlbench.architectures.visual import VisualEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """The most confident boxes of each image and their features; `mask` is None where every image has all R."""

    features: Tensor  # (B, R, C)
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
    """A token from each region's feature and its place; `vlbench.specs.RegionProjection` explains the arguments.

    With `image_types` 2 the images alternate, as those of pairs do, and each of a pair has a segment of its own.
    """

    def __init__(
        self,
        *,
        width: int,
        inputs: int,
        geometry: int,
        combine: str,
        segment: bool,
        norm: bool,
        whole_image: bool,
        unit_length: bool,
        dropout: float,
        layer_norm_eps: float,
        image_types: int = 1,
    ) -> None:
        super().__init__()
        self.numbers = geometry
        self.combine = combine
        self.whole_image = whole_image
        self.unit_length = unit_length
        concatenated = combine == "concatenation"
        normed = combine in ("sum_of_norms", "mean_of_norms")
        self.inputs = inputs
        self.feature = nn.Linear(inputs + (geometry if concatenated else 0), width)
        self.feature_norm = nn.LayerNorm(width, eps=layer_norm_eps) if normed else None
        self.geometry = nn.Linear(geometry, width) if geometry and not concatenated else None
        self.geometry_norm = nn.LayerNorm(width, eps=layer_norm_eps) if self.geometry and normed else None
        self.segment = nn.Parameter(torch.zeros(image_types, width).squeeze(0)) if segment else None
        self.norm = nn.LayerNorm(width, eps=layer_norm_eps) if norm else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, regions: Regions, images: Images | RegionFeatures) -> Tokens:
        if self.whole_image:
            regions = with_whole_image(regions, images)
        places = geometry(regions.boxes, images, self.numbers).to(regions.features.dtype)
        return Tokens(values=self.embed(regions.features, places), mask=regions.mask)

    def embed(self, features_BRC: Tensor, places_BRG: Tensor) -> Tensor:
        """(B, R, width), from features and the numbers that give each region's place."""
        missing = self.inputs - features_BRC.shape[2]
        values = self._combined(F.pad(features_BRC, (0, missing)) if missing else features_BRC, places_BRG)
        if self.segment is not None:
            values = values + in_turn(self.segment, len(values))
        if self.norm is not None:
            values = self.norm(values)
        if self.unit_length:
            values = F.normalize(values, dim=2)
        return self.dropout(values)

    def _combined(self, features_BRC: Tensor, places_BRG: Tensor) -> Tensor:
        if self.combine == "concatenation":
            return self.feature(torch.cat((features_BRC, places_BRG), dim=2))
        values = self.feature(features_BRC)
        if self.feature_norm is not None:
            values = self.feature_norm(values)
        if self.geometry is None:
            return values
        places = self.geometry(places_BRG)
        if self.geometry_norm is not None:
            places = self.geometry_norm(places)
        return (values + places) / 2 if self.combine == "mean_of_norms" else values + places


class RegionEmbedder(VisualEmbedder):
    """A detector, the choice of its regions and their projection; of precomputed regions, their projection alone.

    Args:
        backbone: gives one feature map, or with an `fpn` one a stage.
        fpn: feature pyramid, or None.
        rpn, nms: what proposes boxes, and what chooses among them; or neither, with `grid_boxes` in their place.
        grid_boxes: fixed boxes.
        roi_head: a feature, and with `nms` class scores, for each box.
        projection: regions to tokens.
    """

    def __init__(
        self,
        *,
        backbone: ResNetTrunk,
        fpn: FeaturePyramid | None,
        rpn: RegionProposalNetwork | None,
        grid_boxes: GridBoxes | None,
        roi_head: RoIHead,
        nms: RegionSelection | None,
        projection: RegionProjection,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.rpn = rpn
        self.grid_boxes = grid_boxes
        self.roi_head = roi_head
        self.nms = nms
        self.projection = projection
        self.load: dict[str, int] = {}
        self.trained = False

    def trust_weights(self) -> None:
        """For a detector filled with the weights of bottom-up attention: what it finds is its load."""
        assert self.rpn is not None
        self.trained = True
        self.rpn.inject_load = False
        self.backbone.pool_as_caffe()

    def forward(self, images: Images | RegionFeatures) -> Tokens:
        """Raises ValueError where precomputed features have more channels than the projection reads."""
        if isinstance(images, RegionFeatures):
            return self.projection(self._precomputed(images), images)
        features = self.backbone(images.pixels)
        if self.fpn is not None:
            features = self.fpn(features)
        if self.rpn is None or self.nms is None:
            assert self.grid_boxes is not None
            regions = every_region(self.roi_head(features, self.grid_boxes(images)))
            self.load = {"regions": regions.features.shape[1]}
        else:
            proposals = self.rpn(features, images)
            classified = self.roi_head(features, proposals.boxes)
            regions = self.nms(classified)
            self.load = self._load(self.nms, proposals.candidates, classified)
        return self.projection(regions, images)

    def _precomputed(self, found: RegionFeatures) -> Regions:
        channels, read = found.features.shape[2], self.projection.inputs
        if channels > read:
            raise ValueError(f"precomputed regions of {channels} channels; this model reads {read}")
        self.load = {}
        confidence = torch.ones_like(found.boxes[..., 0])
        return Regions(features=found.features, boxes=found.boxes, confidence=confidence, mask=found.mask)

    def _load(self, nms: RegionSelection, candidates: int, classified: Classified) -> dict[str, int]:
        proposals = min(len(boxes) for boxes in classified.boxes)
        return {
            "rpn_candidates": candidates,
            "proposals": proposals,
            "nms_pairs": min(scores.numel() for scores in classified.scores),
            "regions": min(nms.regions, proposals),
        }

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """Clipped at the border, a few candidates can be smaller than `min_box_size`; so 95% of them will do.

        A trained detector finds what there is: one region will do.
        """
        if isinstance(images, RegionFeatures):
            return {}
        if self.trained:
            return {"regions": 1}
        if self.rpn is None or self.nms is None:
            assert self.grid_boxes is not None
            return {"regions": self.grid_boxes.rows * self.grid_boxes.columns}
        height, width = images.pixels.shape[-2:]
        return {
            "rpn_candidates": math.floor(0.95 * self.rpn.expected_candidates(height, width)),
            "proposals": self.rpn.proposals,
            "nms_pairs": self.rpn.proposals * self.roi_head.classes,
            "regions": self.nms.regions,
        }

    def charged_by_table6(self) -> tuple[list[nn.Module], nn.Linear]:
        steps = (self.backbone, self.fpn, self.rpn, self.roi_head)
        return [step for step in steps if step is not None], self.projection.feature


def every_region(classified: Classified) -> Regions:
    """All boxes of images that have equally many, without a choice; each is as confident as any."""
    boxes = torch.stack(classified.boxes)
    features = torch.stack(classified.features)
    return Regions(features=features, boxes=boxes, confidence=torch.ones_like(boxes[..., 0]), mask=None)


def with_whole_image(regions: Regions, images: Images | RegionFeatures) -> Regions:
    """Puts a region first that covers the image and has the mean feature of the real others (ViLBERT, section 2.2)."""
    if regions.mask is None:
        mean = regions.features.mean(dim=1)
        mask = None
    else:
        mean = mean_of_real(Tokens(values=regions.features, mask=regions.mask))
        mask = F.pad(regions.mask, (1, 0), value=True)
    whole = regions.boxes.new_tensor([[0, 0, width, height] for height, width in images.sizes])
    return Regions(
        features=torch.cat((mean[:, None], regions.features), dim=1),
        boxes=torch.cat((whole[:, None], regions.boxes), dim=1),
        confidence=F.pad(regions.confidence, (1, 0), value=1.0),
        mask=mask,
    )


def geometry(boxes_BR4: Tensor, images: Images | RegionFeatures, numbers: int) -> Tensor:
    """Places as shares of the image, (B, R, numbers): the corners x1, y1, x2, y2; then, for 6 and 7, width and height;
    then, for 5 and 7, the area."""
    sizes = torch.tensor([[w, h, w, h] for h, w in images.sizes], dtype=boxes_BR4.dtype)
    corners = boxes_BR4 / sizes.to(boxes_BR4.device, non_blocking=True)[:, None]
    extent = corners[..., 2:] - corners[..., :2]
    parts = [corners] if numbers else [corners[..., :0]]
    if numbers in (6, 7):
        parts.append(extent)
    if numbers in (5, 7):
        parts.append(extent.prod(dim=-1, keepdim=True))
    return torch.cat(parts, dim=-1)

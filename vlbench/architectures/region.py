"""Region features, the embedder of UNITER and its kin."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.detector import GridBoxes, RegionProposalNetwork
from vlbench.architectures.interfaces import (
    Images,
    RegionFeatures,
    TokenBoxes,
    Tokens,
    VisualEmbedder,
    alternating,
    mean_of_real,
)
from vlbench.architectures.nms import Regions, RegionSelection, keep_all
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import C4RoIHead, Classified, FeaturePyramid, FpnRoIHead, RoIHead
from vlbench.specs import FeaturePyramidSpec, FpnHeadSpec, RegionProjectionSpec, RegionProposalSpec, RegionSpec

DETECTOR = ("backbone", "fpn", "rpn", "roi_head")  # parts of a region embedder that see pixels
TRAINED, CAFFE_POOLING = "trained", "caffe_pooling"  # flags of `extra_state`


class RegionProjection(nn.Module):
    """A token from each region's feature and its box.

    Args:
        spec: describes it.
        inputs: channels of a feature, of which the last are zero where the detector gives fewer.
        images: of an example. The images of a pair alternate in a batch; each of the two has a segment of its own.
    """

    reads_sizes = True  # the geometry of a region is a share of its image

    def __init__(self, spec: RegionProjectionSpec, *, inputs: int, images: int = 1) -> None:
        super().__init__()
        self.numbers = spec.geometry
        self.combine = spec.combine
        self.whole_image = spec.whole_image
        self.unit_length = spec.unit_length
        self.inputs = inputs
        concatenated = spec.combine == "concatenation"
        normed = spec.combine in ("sum_of_norms", "mean_of_norms")
        width, eps = spec.width, spec.layer_norm_eps
        self.feature = nn.Linear(inputs + (spec.geometry if concatenated else 0), width)
        self.feature_norm = nn.LayerNorm(width, eps=eps) if normed else None
        self.geometry = nn.Linear(spec.geometry, width) if spec.geometry and not concatenated else None
        self.geometry_norm = nn.LayerNorm(width, eps=eps) if self.geometry and normed else None
        self.segment = nn.Parameter(torch.zeros(images, width).squeeze(0)) if spec.segment else None
        self.norm = nn.LayerNorm(width, eps=eps) if spec.norm else None
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, regions: Regions, images: Images | RegionFeatures) -> Tokens:
        if self.whole_image:
            regions = with_whole_image(regions, images)
        numbers = geometry(regions.boxes, images, self.numbers).to(regions.features.dtype)
        return Tokens(values=self.embed(regions.features, numbers), mask=regions.mask)

    def embed(self, features_BRC: Tensor, geometry_BRG: Tensor) -> Tensor:
        """(B, R, width), from features and the numbers that describe each region's box."""
        missing = self.inputs - features_BRC.shape[2]
        values = self._combined(F.pad(features_BRC, (0, missing)) if missing else features_BRC, geometry_BRG)
        if self.segment is not None:
            values = values + alternating(self.segment, values.shape[0])
        if self.norm is not None:
            values = self.norm(values)
        if self.unit_length:
            values = F.normalize(values, dim=2)
        return self.dropout(values)

    def _combined(self, features_BRC: Tensor, geometry_BRG: Tensor) -> Tensor:
        if self.combine == "concatenation":
            return self.feature(torch.cat((features_BRC, geometry_BRG), dim=2))
        values = self.feature(features_BRC)
        if self.feature_norm is not None:
            values = self.feature_norm(values)
        if self.geometry is None:
            return values
        boxes = self.geometry(geometry_BRG)
        if self.geometry_norm is not None:
            boxes = self.geometry_norm(boxes)
        return (values + boxes) / 2 if self.combine == "mean_of_norms" else values + boxes


class RegionEmbedder(VisualEmbedder):
    """A detector, the selection of its regions, and their projection; precomputed regions need only the projection.

    A subclass can make the parts of the detector in another library's layers.

    Args:
        spec: describes it.
        images: of an example; see `RegionProjection`.
    """

    steps = ("backbone", "fpn", "rpn", "roi_head", "nms", "projection")
    untimed = ("grid_boxes",)
    maskable = "regions"
    box_source = "projection"

    def __init__(self, spec: RegionSpec, *, images: int = 1) -> None:
        super().__init__()
        self.images = images
        self.special_tokens = int(spec.projection.whole_image)
        self.backbone = self.make_backbone(spec)
        self.fpn = self.make_fpn(spec, spec.fpn) if spec.fpn else None
        self.rpn = self.make_rpn(spec, spec.rpn) if spec.rpn else None
        self.grid_boxes = GridBoxes(rows=spec.grid_boxes[0], columns=spec.grid_boxes[1]) if spec.grid_boxes else None
        self.roi_head = self.make_roi_head(spec)
        self.nms = RegionSelection(spec.nms) if spec.nms else None
        self.projection = RegionProjection(spec.projection, inputs=spec.projection_inputs, images=images)
        self.load: dict[str, int] = {}
        self.trained = False
        self.frozen = False

    def make_backbone(self, spec: RegionSpec) -> ResNetTrunk:
        """Gives one feature map, or one of every stage for a pyramid."""
        return ResNetTrunk(spec.backbone, every_stage=spec.fpn is not None)

    def make_fpn(self, spec: RegionSpec, fpn: FeaturePyramidSpec) -> FeaturePyramid:
        return FeaturePyramid(fpn, inputs=spec.backbone.stage_channels)

    def make_rpn(self, spec: RegionSpec, rpn: RegionProposalSpec) -> RegionProposalNetwork:
        return RegionProposalNetwork(rpn, inputs=spec.feature_channels, strides=spec.strides)

    def make_roi_head(self, spec: RegionSpec) -> RoIHead:
        """Gives each box a feature, and class scores if `spec` has classes."""
        if isinstance(spec.roi_head, FpnHeadSpec):
            return FpnRoIHead(spec.roi_head, inputs=spec.feature_channels, strides=spec.strides)
        return C4RoIHead(
            spec.roi_head,
            inputs=spec.feature_channels,
            feature_stride=spec.backbone.stride,
            stride_in=spec.backbone.stride_in,
        )

    @property
    def detector(self) -> Literal["random", "trained"]:
        return "trained" if self.trained else "random"

    def training_input(self, images: Images, *, boxes: list[Tensor] | None = None) -> RegionFeatures:
        with torch.no_grad():
            return self.regions(images, boxes=boxes).precomputed(images.sizes)

    def token_boxes(self, regions: Regions, images: Images | RegionFeatures) -> TokenBoxes:  # type: ignore[override]
        height, width = images.sizes[0]
        boxes_R4 = regions.boxes[0] if regions.mask is None else regions.boxes[0][regions.mask[0]]
        shares_R4 = boxes_R4.float() / boxes_R4.new_tensor([width, height, width, height], dtype=torch.float32)
        return TokenBoxes(boxes=shares_R4.clamp(0, 1), grid=None)

    def trust_weights(self) -> None:
        """Marks the detector as trained: its load is whatever it finds."""
        self.trained = True
        if self.rpn is not None:
            self.rpn.inject_load = False

    def freeze_detector(self) -> None:
        """Takes the detector out of training: it gets no gradient and stays in evaluation mode."""
        self.frozen = True
        for part in self._detector():
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> RegionEmbedder:
        super().train(mode)
        if self.frozen:
            for part in self._detector():
                part.train(False)
        return self

    def _detector(self) -> list[nn.Module]:
        return [part for name in DETECTOR if (part := getattr(self, name)) is not None]

    def extra_state(self) -> tuple[str, ...]:
        """TRAINED and CAFFE_POOLING, each if it holds."""
        holds = {TRAINED: self.trained, CAFFE_POOLING: self.backbone.pools_as_caffe}
        return tuple(name for name, is_set in holds.items() if is_set)

    def load_extra_state(self, flags: tuple[str, ...]) -> None:
        if TRAINED in flags:
            self.trust_weights()
        if CAFFE_POOLING in flags:
            self.backbone.pool_as_caffe()

    def forward(self, images: Images | RegionFeatures) -> Tokens:
        """Raises ValueError where precomputed features have more channels than the projection reads."""
        if isinstance(images, RegionFeatures):
            return self.projection(self._precomputed(images), images)
        return self.projection(self.regions(images), images)

    def feature_maps(self, images: Images) -> list[Tensor]:
        """The maps that boxes are pooled from, finest first, each (B, C, H, W)."""
        features = self.backbone(images.pixels)
        return features if self.fpn is None else self.fpn(features)

    def regions(self, images: Images, *, boxes: list[Tensor] | None = None) -> Regions:
        """The regions of each image before their projection, without a gradient where the detector is frozen.

        Args:
            images: of a batch.
            boxes: of each image, (N, 4) in pixels, instead of those that the detector would choose; each becomes a
                region of confidence 1. Images with fewer than `nms.regions` are padded.
        """
        with torch.no_grad() if self.frozen else nullcontext():
            features = self.feature_maps(images)
            if boxes is not None or self.rpn is None or self.nms is None:
                return self._given(features, images, boxes)
            proposals = self.rpn(features, images)
            classified = self.roi_head(features, proposals.boxes)
            self.load = self._load(self.nms, proposals.candidates, classified)
            return self.nms(classified)  # type: ignore[no-any-return]

    def _given(self, features: list[Tensor], images: Images, boxes: list[Tensor] | None) -> Regions:
        if boxes is None:
            assert self.grid_boxes is not None
            boxes = self.grid_boxes(images)
        classified = self.roi_head(features, boxes)
        self.load = {"regions": min(map(len, boxes))}
        return keep_all(classified, self.nms.regions if self.nms else 0)

    def _precomputed(self, regions: RegionFeatures) -> Regions:
        channels, read = regions.features.shape[2], self.projection.inputs
        if channels > read:
            raise ValueError(f"precomputed regions of {channels} channels; this model reads {read}")
        self.load = {}
        confidence = torch.ones_like(regions.boxes[..., 0])
        return Regions(features=regions.features, boxes=regions.boxes, confidence=confidence, mask=regions.mask)

    def _load(self, nms: RegionSelection, candidates: int, classified: Classified) -> dict[str, int]:
        proposals = min(len(boxes) for boxes in classified.boxes)
        return {
            "rpn_candidates": candidates,
            "proposals": proposals,
            "nms_pairs": min(scores.numel() for scores in classified.scores),
            "regions": min(nms.regions, proposals),
        }

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """The declared numbers, but for 95% of the candidates: clipped at the border, a few are below `min_box_size`.

        One region is enough for a trained detector, which finds what there is.
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


def with_whole_image(regions: Regions, images: Images | RegionFeatures) -> Regions:
    """Puts a region first that covers the image, with the mean feature of the real regions (ViLBERT, section 2.2)."""
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
    """Boxes as shares of the image, (B, R, numbers): the corners x1, y1, x2, y2; for 6 and 7 also width and height;
    for 5 and 7 also the area."""
    sizes = torch.tensor([[w, h, w, h] for h, w in images.sizes], dtype=boxes_BR4.dtype)
    corners = boxes_BR4 / sizes.to(boxes_BR4.device, non_blocking=True)[:, None]
    extent = corners[..., 2:] - corners[..., :2]
    parts = [corners] if numbers else [corners[..., :0]]
    if numbers in (6, 7):
        parts.append(extent)
    if numbers in (5, 7):
        parts.append(extent.prod(dim=-1, keepdim=True))
    return torch.cat(parts, dim=-1)

"""The visual embedder of regions: a detector or a fixed grid of boxes, and a projection of each region to a token."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vlbench.specs.base import RANDOM, TINY_WIDTH, Engine, Spec, VisualSpec, check_inputs
from vlbench.specs.bounds import Epsilon, Fraction, Layers, Weights, Width
from vlbench.specs.detector import (
    C4HeadSpec,
    FeaturePyramidSpec,
    FpnHeadSpec,
    RegionProposalSpec,
    RegionSelectionSpec,
    ResNetSpec,
)

MOST_POOLED = 1 << 32  # numbers, 16 GiB


class RegionProjectionSpec(Spec):
    """How a region's feature and its box become a token.

    Args:
        width: of a token.
        inputs: channels that the projection reads, by default those of the RoI head; further ones are zero.
        geometry: how many numbers describe the box: 0 none; 4 the corners; 5 also the area; 6 the corners, width and
            height; 7 all of these.
        combine: `sum_of_norms` (UNITER, section 3.1), `mean_of_norms` (LXMERT, section 2.1), `sum` (ViLBERT, section
            2.2) or `concatenation` before the projection (Oscar, section 3).
        segment: whether an embedding is added that marks a token as the image's.
        norm: whether a LayerNorm follows.
        whole_image: whether a token of the whole image comes first, the mean of the regions' features (ViLBERT, section
            2.2).
        unit_length: whether each token is scaled to length 1 (SCAN, section 3).
        dropout: while training.
    """

    width: Width = 768
    inputs: Width | None = None
    geometry: Literal[0, 4, 5, 6, 7] = 7
    combine: Literal["sum_of_norms", "mean_of_norms", "sum", "concatenation"] = "sum_of_norms"
    segment: bool = True
    norm: bool = True
    whole_image: bool = False
    unit_length: bool = False
    dropout: Fraction = 0.1
    layer_norm_eps: Epsilon = 1e-12

    def tiny(self) -> RegionProjectionSpec:
        return self.model_copy(update={"width": TINY_WIDTH})


class RegionSpec(VisualSpec):
    """Regions of a Faster R-CNN (UNITER, section 3.1), or boxes on a fixed grid (X-LXMERT, Cho et al. 2020).

    Args:
        engine: the library whose layers run the detector.
        backbone, fpn: give the feature maps; without an `fpn` there is one.
        rpn, nms: propose boxes and choose among them.
        grid_boxes: rows and columns of fixed boxes, in place of `rpn` and `nms`.
        roi_head: gives each box a feature and, for `nms`, class scores.
        projection: makes a region a token.
    """

    implementation: ClassVar[str] = "vlbench.architectures.region:RegionEmbedder"
    takes_images: ClassVar[bool] = True
    has_detector: ClassVar[bool] = True
    family: ClassVar[Literal["patch", "grid", "region"]] = "region"
    kind: Literal["region"]
    weights: Weights = RANDOM
    engine: Engine = "torchvision"
    backbone: ResNetSpec
    fpn: FeaturePyramidSpec | None = None
    rpn: RegionProposalSpec | None = None
    grid_boxes: tuple[Layers, Layers] | None = None
    roi_head: Annotated[C4HeadSpec | FpnHeadSpec, Field(discriminator="kind")]
    nms: RegionSelectionSpec | None = None
    projection: RegionProjectionSpec

    @property
    def width(self) -> int:
        return self.projection.width

    @property
    def projection_inputs(self) -> int:
        """Channels that the projection reads."""
        return self.projection.inputs or self.roi_head.channels

    @property
    def region_channels(self) -> tuple[int, ...]:
        return tuple(sorted({self.roi_head.channels, self.projection_inputs}))

    @property
    def feature_channels(self) -> int:
        """Channels of the feature maps."""
        return self.fpn.channels if self.fpn else self.backbone.channels

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image per cell of each feature map; a pyramid has one for every stage and one more."""
        if self.fpn is None:
            return (self.backbone.stride,)
        return tuple(4 * 2**level for level in range(len(self.backbone.blocks) + 1))

    @model_validator(mode="after")
    def _parts_fit(self) -> RegionSpec:
        stages = len(self.backbone.blocks)
        if not self.fpn and stages != 3:
            raise ValueError(f"backbone.blocks has {stages} stages; a C4 head needs res2 to res4, 3")
        if bool(self.fpn) != (self.roi_head.kind == "fpn"):
            raise ValueError("an fpn needs roi_head.kind fpn, and that head needs an fpn")
        self._check_windows()
        check_inputs("projection.inputs", self.projection.inputs, "RoI head", self.roi_head.channels)
        if self.grid_boxes:
            if self.rpn or self.nms or self.fpn:
                raise ValueError("grid_boxes stand in place of rpn, nms and fpn; leave those out")
            return self
        self._check_proposals()
        return self

    def _check_windows(self) -> None:
        """What the RoI head pools from an image has to fit into memory."""
        boxes = math.prod(self.grid_boxes) if self.grid_boxes else self.rpn.proposals if self.rpn else 0
        if boxes * self.roi_head.pool_size**2 * self.feature_channels > MOST_POOLED:
            raise ValueError(
                f"{boxes:,} boxes with roi_head.pool_size {self.roi_head.pool_size} pool more than {MOST_POOLED:,} "
                "numbers of an image; fewer or smaller ones work"
            )

    def _check_proposals(self) -> None:
        if not self.rpn or not self.nms:
            raise ValueError(f"the key {'nms' if self.rpn else 'rpn'!r} is missing; only grid_boxes do without")
        if not self.roi_head.classes:
            raise ValueError("roi_head.classes is missing; nms needs class scores")
        if self.nms.regions > self.rpn.proposals:
            raise ValueError(f"nms.regions is {self.nms.regions}, more than rpn.proposals, {self.rpn.proposals}")
        if self.fpn and len(self.rpn.anchor_sizes) != len(self.strides):
            raise ValueError(
                f"rpn.anchor_sizes has {len(self.rpn.anchor_sizes)}; an fpn needs one a level, {len(self.strides)}"
            )

    def tiny(self) -> RegionSpec:
        parts = {
            name: part.tiny()
            for name in ("backbone", "fpn", "rpn", "roi_head", "nms", "projection")
            if (part := getattr(self, name))
        }
        if self.grid_boxes:
            parts["grid_boxes"] = (2, 3)
        return self.model_copy(update=parts)

"""A CNN trunk, and what a Faster R-CNN adds to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vlbench.specs.base import Spec
from vlbench.specs.bounds import Amount, Factor, Fraction, Layers, PoolSize, Side, Width


class ResNetSpec(Spec):
    """A ResNet or ResNeXt trunk without its classifier.

    Args:
        blocks: bottlenecks of each stage that is kept, res2 first; three stages end at stride 16.
        base_width: channels of the stem; res2 has four times as many, and every later stage doubles them.
        groups, group_width: of the 3x3 convolutions for a stem of 64 channels, with which they scale: 1 and 64 for a
            ResNet, 32 and 4 for a ResNeXt 32x4d.
        stride_in: the convolution of a stage's first bottleneck that takes its stride.
        norm: `frozen` or `trained` BatchNorm.
        frozen_stages: how many stages are not trained; the stem counts as the first.
    """

    blocks: tuple[Layers, ...] = Field(min_length=2, max_length=4)
    base_width: Width = 64
    groups: Width = 1
    group_width: Width = 64
    stride_in: Literal["1x1", "3x3"] = "3x3"
    norm: Literal["frozen", "trained"] = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0

    @property
    def channels(self) -> int:
        """Channels of the last stage."""
        return self.stage_channels[-1]

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of every stage, res2 first."""
        return tuple(4 * self.base_width * 2**index for index in range(len(self.blocks)))

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the last stage."""
        return 2 ** (len(self.blocks) + 1)

    @model_validator(mode="after")
    def _bottlenecks_have_a_width(self) -> ResNetSpec:
        check_group_width(self.base_width, self.group_width)
        return self

    def tiny(self) -> ResNetSpec:
        return self.model_copy(update={"blocks": (1,) * len(self.blocks)})


class FeaturePyramidSpec(Spec):
    """Feature pyramid over every stage of a trunk, res2 to res5 as published, with a level on top (FPN, section 3).

    Args:
        channels: of every level.
    """

    channels: Width = 256

    def tiny(self) -> FeaturePyramidSpec:
        return self.model_copy(update={"channels": 16})


class RegionProposalSpec(Spec):
    """Region proposal network (Faster R-CNN, section 3.1; FPN, section 4.1).

    Args:
        channels: of the 3x3 convolution: 512 in bottom-up attention, as many as the feature map has in Detectron2.
        anchor_sizes: sides in pixels; every cell of a single feature map has all of them, every level of a pyramid one.
        aspect_ratios: height / width of the anchors.
        candidates: boxes of each feature map that go into suppression.
        proposals: most boxes that leave it.
        nms_iou: overlap above which the lower of two boxes of one feature map is dropped.
        min_box_size: shortest side, in pixels, of a box that is kept.
    """

    channels: Width
    anchor_sizes: tuple[Side, ...] = Field(min_length=1, max_length=64)
    aspect_ratios: tuple[Factor, ...] = Field((0.5, 1.0, 2.0), min_length=1, max_length=64)
    candidates: Amount = 6000
    proposals: Amount
    nms_iou: Fraction = 0.7
    min_box_size: Annotated[float, Field(ge=0, le=4096)] = 0.0

    def tiny(self) -> RegionProposalSpec:
        return self.model_copy(update={"channels": 16, "candidates": 60, "proposals": 12, "min_box_size": 0.0})


class C4HeadSpec(Spec):
    """RoI head that runs res5 on every region (He et al. 2016, "C4"), and classifies it if it has classes.

    Args:
        pooling: `roi_align` (aligned, adaptive sampling, as Detectron2's C4) or `roi_pool` (bottom-up attention).
        pool_size: side of the pooled window; res5 of stride 2 halves it.
        blocks, base_width, groups, group_width, stride, dilation: of res5, as of a trunk.
        classes: object classes, without background; None for features alone.
        box_regression: whether each class has box deltas of its own.
    """

    kind: Literal["c4"]
    pooling: Literal["roi_align", "roi_pool"] = "roi_align"
    pool_size: PoolSize = 14
    blocks: Layers = 3
    base_width: Width = 64
    groups: Width = 1
    group_width: Width = 64
    stride: Literal[1, 2] = 2
    dilation: Literal[1, 2] = 1
    classes: Amount | None = 1600
    box_regression: Literal["per_class", "class_agnostic"] = "per_class"

    @property
    def channels(self) -> int:
        return 32 * self.base_width

    @model_validator(mode="after")
    def _bottlenecks_have_a_width(self) -> C4HeadSpec:
        check_group_width(self.base_width, self.group_width)
        return self

    def tiny(self) -> C4HeadSpec:
        return self.model_copy(update={"pool_size": 4, "blocks": 1, "classes": self.classes and 9})


class FpnHeadSpec(Spec):
    """RoI head of two linear layers on each region of a feature pyramid (FPN, section 4.2).

    Args:
        pool_size: side of the pooled window.
        width: of both layers, and so of a region's feature.
        classes, box_regression: as of a C4 head.
    """

    kind: Literal["fpn"]
    pool_size: PoolSize = 7
    width: Width = 1024
    classes: Amount = 1600
    box_regression: Literal["per_class", "class_agnostic"] = "per_class"

    @property
    def channels(self) -> int:
        return self.width

    def tiny(self) -> FpnHeadSpec:
        return self.model_copy(update={"width": 32, "classes": 9})


class RegionSelectionSpec(Spec):
    """Non-maximum suppression and the choice of regions (bottom-up attention, section 3.1).

    Args:
        method: `per_class_loop`; `per_class_batched`, which gives the same boxes; or `class_agnostic`.
        iou: overlap above which the lower of two boxes is dropped.
        regions: how many are kept.
    """

    method: Literal["per_class_loop", "per_class_batched", "class_agnostic"] = "per_class_loop"
    iou: Fraction = 0.3
    regions: Amount = 36

    def tiny(self) -> RegionSelectionSpec:
        return self.model_copy(update={"regions": 5})


def check_group_width(base_width: int, group_width: int) -> None:
    """Raises ValueError where a group of a bottleneck of res2 would not have a whole number of channels."""
    if base_width * group_width % 64:
        width = base_width * group_width / 64
        raise ValueError(f"base_width {base_width} with group_width {group_width} leaves a group {width:g} channels")

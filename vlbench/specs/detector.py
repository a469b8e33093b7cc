"""A CNN trunk, and what a Faster R-CNN adds to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import Fraction, Part


class ResNetSpec(Part):
    """A ResNet or ResNeXt trunk without its classifier; `blocks` has one entry a stage that is kept, res2 first.

    `base_width` is of the stem; res2 gives four times as many channels, and every later stage doubles them. The widths
    within the bottlenecks, `groups` and `group_width`, are those of a network whose stem has 64, and scale with it.
    """

    blocks: tuple[PositiveInt, ...] = Field(min_length=2, max_length=4)
    base_width: PositiveInt = 64
    groups: PositiveInt = 1
    group_width: PositiveInt = 64
    stride_in: Literal["1x1", "3x3"] = "3x3"
    norm: Literal["frozen", "trained"] = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0

    @property
    def channels(self) -> int:
        """Of the last stage."""
        return self.stage_channels[-1]

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Of every stage, res2 first."""
        return tuple(4 * self.base_width * 2**index for index in range(len(self.blocks)))

    @property
    def stride(self) -> int:
        """Pixels of the image that a cell of the last stage stands for."""
        return 2 ** (len(self.blocks) + 1)

    @model_validator(mode="after")
    def _bottlenecks_have_a_width(self) -> ResNetSpec:
        check_group_width(self.base_width, self.group_width)
        return self

    def tiny(self) -> ResNetSpec:
        return self.model_copy(update={"blocks": (1,) * len(self.blocks)})


class FeaturePyramidSpec(Part):
    """Feature pyramid over every stage of a trunk, res2 to res5 as published, with a level on top (FPN, section 3)."""

    channels: PositiveInt = 256

    def tiny(self) -> FeaturePyramidSpec:
        return self.model_copy(update={"channels": 16})


class RegionProposalSpec(Part):
    """Region proposal network (Faster R-CNN, section 3.1); over a pyramid, one anchor size a level."""

    channels: PositiveInt
    anchor_sizes: tuple[PositiveInt, ...] = Field(min_length=1)
    aspect_ratios: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 2.0), min_length=1)
    candidates: PositiveInt = 6000
    proposals: PositiveInt
    nms_iou: Fraction = 0.7
    min_box_size: float = 0.0

    def tiny(self) -> RegionProposalSpec:
        return self.model_copy(update={"channels": 16, "candidates": 60, "proposals": 12, "min_box_size": 0.0})


class C4HeadSpec(Part):
    """RoI head that runs res5 on every region (He et al. 2016, "C4"), then classifies it if it has classes.

    `base_width`, `groups` and `group_width` are as a trunk's.
    """

    kind: Literal["c4"]
    pooling: Literal["roi_align", "roi_pool"] = "roi_align"
    pool_size: PositiveInt = 14
    blocks: PositiveInt = 3
    base_width: PositiveInt = 64
    groups: PositiveInt = 1
    group_width: PositiveInt = 64
    stride: Literal[1, 2] = 2
    dilation: Literal[1, 2] = 1
    classes: PositiveInt | None = 1600
    box_regression: Literal["per_class", "class_agnostic"] = "per_class"

    @property
    def channels(self) -> int:
        return 32 * self.base_width

    @model_validator(mode="after")
    def _bottlenecks_have_a_width(self) -> C4HeadSpec:
        check_group_width(self.base_width, self.group_width)
        return self

    def tiny(self) -> C4HeadSpec:
        return self.model_copy(update={"blocks": 1, "classes": self.classes and 9})


class FpnHeadSpec(Part):
    """RoI head of two linear layers on each region of a feature pyramid (FPN, section 4.2)."""

    kind: Literal["fpn"]
    pool_size: PositiveInt = 7
    width: PositiveInt = 1024
    classes: PositiveInt = 1600
    box_regression: Literal["per_class", "class_agnostic"] = "per_class"

    @property
    def channels(self) -> int:
        return self.width

    def tiny(self) -> FpnHeadSpec:
        return self.model_copy(update={"width": 32, "classes": 9})


class RegionSelectionSpec(Part):
    """Non-maximum suppression and the choice of regions (bottom-up attention, section 3.1)."""

    method: Literal["per_class_loop", "per_class_batched", "class_agnostic"] = "per_class_loop"
    iou: Fraction = 0.3
    regions: PositiveInt = 36

    def tiny(self) -> RegionSelectionSpec:
        return self.model_copy(update={"regions": 5})


def check_group_width(base_width: int, group_width: int) -> None:
    """Raises ValueError where a group of a bottleneck of res2 would not have a whole number of channels."""
    if base_width * group_width % 64:
        width = base_width * group_width / 64
        raise ValueError(f"base_width {base_width} with group_width {group_width} leaves a group {width:g} channels")

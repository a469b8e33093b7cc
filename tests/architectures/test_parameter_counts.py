"""Full-size parameter counts, on the meta device, against ViLT's Table 6 and ViT's Table 1.

The exact integers are the components that sum to Table 6's printed cells (shared/papers/vilt_table6_recipe.json).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import nn

from vlbench.architectures.build import build
from vlbench.architectures.detector import RegionProposalNetwork
from vlbench.architectures.grid import PixelProjection
from vlbench.architectures.interaction import SingleStream
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import C4RoIHead, FeaturePyramid, FpnRoIHead, RoIHead
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import (
    C4HeadSpec,
    FeaturePyramidSpec,
    FpnHeadSpec,
    GridSpec,
    PatchSpec,
    RegionProposalSpec,
    ResNetSpec,
    SingleStreamSpec,
)
from vlbench.specs.catalog import catalog


def count(*parts: nn.Module, trainable: bool) -> int:
    return sum(
        parameter.numel()
        for part in parts
        for parameter in part.parameters()
        if parameter.requires_grad or not trainable
    )


def on_meta(name: str) -> VLModel:
    with torch.device("meta"):
        return build(catalog()[name])


def trunk(*blocks: int, groups: int = 1, group_width: int = 64, norm: str = "frozen") -> ResNetTrunk:
    return ResNetTrunk(
        ResNetSpec(blocks=blocks, groups=groups, group_width=group_width, stride_in="1x1", norm=norm, frozen_stages=2)
    )


def region_proposals() -> RegionProposalNetwork:
    return RegionProposalNetwork(
        RegionProposalSpec(
            channels=1024,
            anchor_sizes=(32, 64, 128, 256, 512),
            aspect_ratios=(0.5, 1.0, 2.0),
            candidates=6000,
            proposals=1000,
            nms_iou=0.7,
            min_box_size=0.0,
        ),
        inputs=1024,
        strides=[16],
    )


def pyramid_proposals() -> RegionProposalNetwork:
    return RegionProposalNetwork(
        RegionProposalSpec(
            channels=256,
            anchor_sizes=(32, 64, 128, 256, 512),
            aspect_ratios=(0.5, 1.0, 2.0),
            candidates=1000,
            proposals=1000,
            nms_iou=0.7,
            min_box_size=0.0,
        ),
        inputs=256,
        strides=(4, 8, 16, 32, 64),
    )


def pyramid_head() -> FpnRoIHead:
    return FpnRoIHead(
        FpnHeadSpec(kind="fpn", pool_size=7, width=1024, classes=1600, box_regression="per_class"),
        inputs=256,
        strides=(4, 8, 16, 32, 64),
    )


def roi_head(box_regression: str) -> C4RoIHead:
    return C4RoIHead(
        C4HeadSpec(
            kind="c4",
            pooling="roi_align",
            pool_size=14,
            blocks=3,
            groups=1,
            group_width=64,
            stride=2,
            dilation=1,
            classes=1600,
            box_regression=box_regression,
        ),
        inputs=1024,
        feature_stride=16,
        stride_in="1x1",
    )


def predictor(head: RoIHead) -> nn.Module:
    return nn.ModuleList([head.classifier, head.box_regressor])


COMPONENTS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "R101-C4 backbone": (lambda: trunk(3, 4, 23), 27_230_208, 27_535_424),
    "RPN of 1,024 channels and 15 anchors": (region_proposals, 9_515_083, 9_515_083),
    "res5": (lambda: roi_head("per_class").res5, 14_942_208, 14_964_736),
    "predictor, per class": (lambda: predictor(roi_head("per_class")), 16_394_049, 16_394_049),
    "predictor, class-agnostic": (lambda: predictor(roi_head("class_agnostic")), 3_288_645, 3_288_645),
    "X152-C4 backbone": (lambda: trunk(3, 8, 36, groups=32, group_width=4), 42_975_232, 43_357_504),
    "X152 full": (lambda: trunk(3, 8, 36, 3, groups=32, group_width=4, norm="trained"), 57_687_040, 57_902_400),
    "FPN of 256 channels": (
        lambda: FeaturePyramid(FeaturePyramidSpec(channels=256), inputs=(256, 512, 1024, 2048)),
        3_344_384,
        3_344_384,
    ),
    "RPN of 256 channels and 3 anchors": (pyramid_proposals, 593_935, 593_935),
    "2-MLP head": (lambda: pyramid_head().mlp, 13_895_680, 13_895_680),
    "predictor of the 2-MLP head": (lambda: predictor(pyramid_head()), 8_201_025, 8_201_025),
    "R50 cut after res4": (lambda: trunk(3, 4, 6), 8_290_304, 8_543_296),
    "visual projection": (
        lambda: (
            PixelProjection(
                GridSpec(
                    kind="grid",
                    backbone=ResNetSpec(blocks=(1, 1)),
                    pool_size=2,
                    width=768,
                    sampled_pixels=100,
                    sample="training",
                ),
                inputs=2048,
            ).linear
        ),
        1_573_632,
        1_573_632,
    ),
    "patch projection": (
        lambda: (
            PatchEmbedder(
                PatchSpec(
                    kind="patch", patch_size=32, width=768, position_grid=(12, 12), align_corners=True, dropout=0.0
                )
            ).patch
        ),
        2_360_064,
        2_360_064,
    ),
    "12-layer transformer": (
        lambda: SingleStream(
            SingleStreamSpec(
                kind="single_stream",
                layers=12,
                width=768,
                heads=12,
                mlp_width=3072,
                norm="post",
                modal_types=False,
                dropout=0.1,
                layer_norm_eps=1e-12,
            )
        ),
        85_054_464,
        85_054_464,
    ),
}


@pytest.mark.parametrize(("make", "trainable", "total"), COMPONENTS.values(), ids=COMPONENTS.keys())
def test_component_has_table_6s_parameters(make: Callable[[], nn.Module], trainable: int, total: int) -> None:
    with torch.device("meta"):
        part = make()
    assert (count(part, trainable=True), count(part, trainable=False)) == (trainable, total)


def region_parts(model: VLModel) -> list[nn.Module]:
    """Table 6 counts neither word embeddings nor box geometry, LayerNorms of the projection, pooler and head."""
    visual = model.visual
    return [visual.backbone, visual.rpn, visual.roi_head, visual.projection.feature, model.interaction.blocks]


def grid_parts(model: VLModel) -> list[nn.Module]:
    return [model.visual.backbone, model.visual.projection.linear, model.interaction.blocks]


def patch_parts(model: VLModel) -> list[nn.Module]:
    return [model.visual.patch, model.interaction.blocks]


ROWS = {
    "uniter-base-table6": (region_parts, 154.7, 154_709_644),
    "pixelbert-r50-table6": (grid_parts, 94.9, 94_918_400),
    "pixelbert-x152": (grid_parts, 144.3, 144_315_136),
    "vilt-b32": (patch_parts, 87.4, 87_414_528),
}


@pytest.mark.parametrize(("name", "row"), ROWS.items(), ids=ROWS.keys())
def test_model_has_the_parameters_that_table_6_prints(name: str, row: tuple) -> None:
    parts, printed, exact = row
    trainable = count(*parts(on_meta(name)), trainable=True)
    assert trainable == exact
    assert trainable / 1e6 == pytest.approx(printed, rel=1e-3)


VIT = {"vit-b16": 85.8, "vit-b32": 87.5, "vit-l16": 303.3, "vit-l32": 305.5, "vit-h14": 630.8}


@pytest.mark.parametrize(("name", "millions"), VIT.items(), ids=VIT.keys())
def test_vit_has_the_parameters_of_table_1_without_the_classifier(name: str, millions: float) -> None:
    model = on_meta(name)
    assert count(model, trainable=False) / 1e6 == pytest.approx(millions, abs=0.1)
    assert count(model, trainable=True) == count(model, trainable=False)


@pytest.mark.parametrize("name", VIT)
def test_vit_has_as_many_parameters_as_torchvisions(name: str) -> None:
    variant, size = name[4], name[5:]
    with torch.device("meta"):
        reference = getattr(torchvision.models, f"vit_{variant}_{size}")()
    assert count(on_meta(name), trainable=False) == count(reference, trainable=False) - count(
        reference.heads, trainable=False
    )


def test_a_bottom_up_attention_rpn_has_512_channels_and_12_anchors() -> None:
    rpn = on_meta("uniter-base").visual.rpn
    expected = (1024 * 9 * 512 + 512) + (512 + 1) * 12 * (1 + 4)
    assert count(rpn, trainable=True) == expected

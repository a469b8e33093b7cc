"""Trunks, pyramids and heads of other widths and depths than the published."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, resnet50, resnext50_32x4d
from torchvision.models.resnet import ResNet as TorchvisionResNet

from vlbench.architectures.build import through_engine
from vlbench.architectures.detector import spread_boxes
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import levels_of
from vlbench.errors import InputError
from vlbench.specs import C4HeadSpec, RegionSpec, ResNetSpec
from vlbench.specs.catalog import catalog

PYRAMID = {
    "kind": "region",
    "backbone": {"blocks": (1, 1, 1), "base_width": 16, "norm": "trained"},
    "fpn": {"channels": 8},
    "rpn": {"channels": 8, "anchor_sizes": (20, 40, 64, 128), "candidates": 32, "proposals": 16},
    "roi_head": {"kind": "fpn", "pool_size": 3, "width": 24, "classes": 5},
    "nms": {"method": "class_agnostic", "iou": 0.5, "regions": 6},
    "projection": {"width": 32},
}
C4 = PYRAMID | {
    "fpn": None,
    "rpn": {"channels": 8, "anchor_sizes": (20, 40), "candidates": 32, "proposals": 16},
    "roi_head": {"kind": "c4", "pool_size": 4, "blocks": 1, "base_width": 16, "classes": 5},
}


def embedder(description: dict) -> RegionEmbedder:
    built = RegionEmbedder(RegionSpec.model_validate(description))
    initialise_random(built, 0)
    return built.eval()


def renamed(trunk: ResNetTrunk) -> dict[str, Tensor]:
    """A trunk's tensors under torchvision's names."""
    names = {"stem.0": "conv1", "stem.1": "bn1"} | {f"stages.{n}": f"layer{n + 1}" for n in range(4)}
    return {
        next(theirs + name.removeprefix(ours) for ours, theirs in names.items() if name.startswith(f"{ours}.")): values
        for name, values in trunk.state_dict().items()
    }


@pytest.mark.parametrize(
    ("reference", "groups", "group_width"), [(resnet50, 1, 64), (resnext50_32x4d, 32, 4)], ids=["ResNet", "ResNeXt"]
)
def test_of_64_channels_it_is_torchvisions_network(reference: type, groups: int, group_width: int) -> None:
    with torch.device("meta"):
        network = reference()
        trunk = ResNetTrunk(ResNetSpec(blocks=(3, 4, 6, 3), groups=groups, group_width=group_width, norm="trained"))
    expected = {name: values.shape for name, values in network.state_dict().items() if not name.startswith("fc.")}
    assert {name: values.shape for name, values in renamed(trunk).items()} == expected


@torch.no_grad()
@pytest.mark.parametrize(("groups", "group_width"), [(1, 64), (4, 32)])
def test_a_narrow_trunk_is_torchvisions_stages_on_a_narrow_stem(groups: int, group_width: int) -> None:
    spec = ResNetSpec(blocks=(2, 1, 2), base_width=16, groups=groups, group_width=group_width, norm="trained")
    trunk = ResNetTrunk(spec, every_stage=True)
    initialise_random(trunk, 0)
    network = TorchvisionResNet(Bottleneck, [1, 1, 1, 1], groups=groups, width_per_group=group_width)
    network.inplanes = 16  # what its own stem would have set
    strides = {"stride": 2}
    layers = [network._make_layer(Bottleneck, 16, 2), network._make_layer(Bottleneck, 32, 1, **strides)]
    layers.append(network._make_layer(Bottleneck, 64, 2, **strides))
    pixels = torch.randn(2, 3, 64, 96)
    features = trunk.eval()(pixels)
    given = trunk.stem(pixels)
    assert given.shape == (2, 16, 16, 24)
    for layer, stage, found in zip(layers, trunk.stages, features, strict=True):
        layer.load_state_dict(stage.state_dict())
        given = layer.eval()(given)
        torch.testing.assert_close(found, given, atol=1e-5, rtol=1e-4)
    assert [some.shape[1] for some in features] == list(spec.stage_channels) == [64, 128, 256]
    assert trunk.channels == spec.channels == 256


def test_a_bottleneck_without_a_whole_number_of_channels_is_told() -> None:
    with pytest.raises(ValueError, match=r"base_width 8 with group_width 4 leaves a group 0\.5 channels"):
        ResNetSpec(blocks=(1, 1, 1), base_width=8, groups=32, group_width=4)
    with pytest.raises(ValueError, match=r"leaves a group 0\.25 channels"):
        C4HeadSpec(kind="c4", base_width=4, groups=32, group_width=4)


@torch.no_grad()
@pytest.mark.parametrize(("description", "channels"), [(PYRAMID, 24), (C4, 512)], ids=["pyramid", "C4"])
def test_a_narrow_detector_sees_small_images(description: dict, channels: int) -> None:
    spec, images = (
        RegionSpec.model_validate(description),
        Images(pixels=torch.randn(2, 3, 128, 128), sizes=((128, 128),) * 2),
    )
    built = embedder(description)
    regions = built.regions(images)
    assert regions.features.shape == (2, 6, channels)
    assert spec.roi_head.channels == channels
    assert regions.mask is None
    assert built(images).values.shape == (2, 6, 32)
    assert built.load == built.declared_load(images) | {"rpn_candidates": built.load["rpn_candidates"]}


@torch.no_grad()
def test_a_pyramid_has_a_level_for_each_stage_and_one_more() -> None:
    built = embedder(PYRAMID)
    images = Images(pixels=torch.randn(1, 3, 128, 128), sizes=((128, 128),))
    maps = built.feature_maps(images)
    assert [tuple(level.shape[1:]) for level in maps] == [(8, 32, 32), (8, 16, 16), (8, 8, 8), (8, 4, 4)]
    assert torch.equal(maps[3], maps[2][:, :, ::2, ::2])
    assert built.rpn.expected_candidates(128, 128) == 4 * 32


def test_a_level_that_a_pyramid_has_not_leaves_its_boxes_to_the_coarsest() -> None:
    sides = torch.tensor([20.0, 100, 112, 300, 448, 900])
    boxes = torch.stack((torch.zeros(6), torch.zeros(6), sides, sides), dim=1)
    assert levels_of(boxes).tolist() == [2, 2, 3, 4, 5, 5]
    assert levels_of(boxes, coarsest=3).tolist() == [2, 2, 3, 3, 3, 3]


@torch.no_grad()
def test_small_boxes_are_pooled_from_the_finest_level_alone() -> None:
    built = embedder(PYRAMID)
    maps = built.feature_maps(Images(pixels=torch.randn(1, 3, 128, 128), sizes=((128, 128),)))
    boxes = [torch.tensor([[10.0, 10, 26, 26], [50, 60, 90, 100]])]
    others = [maps[0], *(torch.randn_like(level) for level in maps[1:])]
    assert torch.equal(built.roi_head.pooled_features(maps, boxes), built.roi_head.pooled_features(others, boxes))


def test_anchors_need_a_size_a_level() -> None:
    wrong = PYRAMID | {"rpn": PYRAMID["rpn"] | {"anchor_sizes": (20, 40, 64)}}
    with pytest.raises(ValueError, match=r"anchor_sizes has 3; an fpn needs one a level, 4"):
        RegionSpec.model_validate(wrong)


def test_detectron2_is_not_asked_for_a_pyramid_that_it_has_not() -> None:
    spec = RegionSpec.model_validate(PYRAMID | {"engine": "detectron2"})
    with pytest.raises(InputError, match=r"needs res2 to res5, but backbone\.blocks has 3 stages"):
        through_engine(spec, embedder(PYRAMID))


def test_published_widths_are_the_defaults() -> None:
    for name, spec in catalog().items():
        backbone = getattr(spec, "visual", None) and getattr(spec.visual, "backbone", None)
        if isinstance(backbone, ResNetSpec):
            assert backbone.channels == 256 * 2 ** (len(backbone.blocks) - 1), name


@torch.no_grad()
def test_every_box_of_a_narrow_detector_gets_a_finite_feature() -> None:
    built = embedder(C4)
    boxes = [spread_boxes(20, 128, 128), torch.zeros(1, 4)]
    images = Images(pixels=torch.randn(2, 3, 128, 128), sizes=((128, 128),) * 2)
    regions = built.regions(images, boxes=boxes)
    assert isinstance(regions.features, Tensor)
    assert torch.isfinite(regions.features).all()
    assert regions.mask.sum(dim=1).tolist() == [20, 1]
    norms = [module for module in built.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.requires_grad for norm in norms)

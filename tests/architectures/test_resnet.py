"""ResNet trunks against timm and Detectron2, and what is frozen."""

from __future__ import annotations

import pytest
import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import nn
from weights import copy_trunk, detectron2_stage

from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.resnet import ResNetTrunk, res5
from vlbench.specs import C4HeadSpec, ResNetSpec


def trunk_of(blocks: tuple[int, ...], **changes: object) -> ResNetTrunk:
    arguments = {"groups": 1, "group_width": 64, "stride_in": "3x3", "norm": "frozen", "frozen_stages": 0}
    every_stage = changes.pop("every_stage", False)
    trunk = ResNetTrunk(ResNetSpec(blocks=blocks, **(arguments | changes)), every_stage=every_stage)
    initialise_random(trunk, seed=0)
    return randomise_norms(trunk)


@torch.no_grad()
def randomise_norms(module: nn.Module) -> nn.Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.mul_(torch.empty_like(norm.weight).uniform_(0.8, 1.2))
            norm.bias.normal_(0, 0.1)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
    return module


def timm_network(blocks: tuple[int, ...], groups: int, group_width: int) -> ResNet:
    depth = (*blocks, *[1] * (4 - len(blocks)))
    return ResNet(Bottleneck, depth, cardinality=groups, base_width=group_width, num_classes=0, global_pool="").eval()


def timm_features(network: ResNet, stages: int, pixels: torch.Tensor) -> torch.Tensor:
    features = network.maxpool(network.act1(network.bn1(network.conv1(pixels))))
    for index in range(1, stages + 1):
        features = getattr(network, f"layer{index}")(features)
    return features


TRUNKS = {
    "ResNet-50": ((3, 4, 6, 3), 1, 64),
    "ResNet-50 cut after res4": ((3, 4, 6), 1, 64),
    "cut after res3": ((1, 2), 1, 64),
    "ResNeXt 32x4d": ((1, 2, 2, 1), 32, 4),
    "ResNeXt 32x8d cut after res4": ((1, 1, 2), 32, 8),
}


@torch.no_grad()
@pytest.mark.parametrize("stride_in", ["3x3", "1x1"])
@pytest.mark.parametrize(("blocks", "groups", "group_width"), TRUNKS.values(), ids=TRUNKS.keys())
def test_trunk_equals_timm(blocks: tuple[int, ...], groups: int, group_width: int, stride_in: str) -> None:
    """timm strides in the 3x3; the 1x1 variant is timm's network with the two strides swapped by hand."""
    trunk = trunk_of(blocks, groups=groups, group_width=group_width, stride_in=stride_in).double().eval()
    network = timm_network(blocks, groups, group_width).double()
    copy_trunk(trunk, network)
    if stride_in == "1x1":
        for stage in (network.layer2, network.layer3, network.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    pixels = torch.randn(2, 3, 70, 101, dtype=torch.float64)
    expected = timm_features(network, len(blocks), pixels)
    (features,) = trunk(pixels)
    torch.testing.assert_close(features, expected, atol=1e-9, rtol=1e-9)
    rounded_up = tuple(-(-side // trunk.stride) for side in (70, 101))
    assert features.shape == (2, trunk.channels, *rounded_up)
    assert trunk.stride == 2 ** (len(blocks) + 1)


@torch.no_grad()
def test_every_stage_equals_timms() -> None:
    blocks, pixels = (1, 2, 2, 1), torch.randn(2, 3, 70, 101, dtype=torch.float64)
    trunk = trunk_of(blocks, groups=32, group_width=4, every_stage=True).double().eval()
    network = timm_network(blocks, 32, 4).double()
    copy_trunk(trunk, network)
    for stages, features in enumerate(trunk(pixels), start=1):
        torch.testing.assert_close(features, timm_features(network, stages, pixels), atol=1e-9, rtol=1e-9)
    assert stages == 4


@torch.no_grad()
def test_where_the_stride_lies_changes_the_features() -> None:
    pixels = torch.randn(1, 3, 64, 64)
    outputs = []
    for stride_in in ("3x3", "1x1"):
        torch.manual_seed(1)
        outputs.append(trunk_of((1, 1), stride_in=stride_in).eval()(pixels)[-1])
    assert outputs[0].shape == outputs[1].shape
    assert not torch.allclose(outputs[0], outputs[1], atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize(("stride", "dilation", "side"), [(2, 1, 7), (1, 2, 14), (1, 1, 14)])
@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
@pytest.mark.parametrize(("groups", "group_width"), [(1, 64), (32, 8)])
def test_res5_equals_detectron2(
    stride: int, dilation: int, side: int, stride_in: str, groups: int, group_width: int
) -> None:
    resnet = pytest.importorskip("detectron2.modeling.backbone.resnet")
    spec = C4HeadSpec(kind="c4", groups=groups, group_width=group_width, stride=stride, dilation=dilation)
    stage = randomise_norms(res5(spec, inputs=1024, stride_in=stride_in)).double().eval()
    blocks = resnet.ResNet.make_stage(
        resnet.BottleneckBlock,
        3,
        stride_per_block=[stride, 1, 1],
        in_channels=1024,
        bottleneck_channels=8 * groups * group_width,
        num_groups=groups,
        out_channels=2048,
        dilation=dilation,
        stride_in_1x1=stride_in == "1x1",
        norm="FrozenBN",
    )
    reference = nn.Sequential(*blocks).double().eval()
    reference.load_state_dict(detectron2_stage(stage))
    features = torch.randn(2, 1024, 14, 14, dtype=torch.float64)
    output = stage(features)
    assert output.shape == (2, 2048, side, side)
    torch.testing.assert_close(output, reference(features), atol=1e-9, rtol=1e-6)


def statistics(module: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for name, buffer in module.named_buffers() if "running" in name]


def test_frozen_batch_norm_is_the_same_in_training() -> None:
    trunk = trunk_of((1, 1), norm="frozen")
    pixels, before = torch.randn(2, 3, 64, 64), statistics(trunk)
    evaluated = trunk.eval()(pixels)[-1]
    trained = trunk.train()(pixels)[-1]
    torch.testing.assert_close(trained, evaluated, atol=0, rtol=0)
    trained.square().mean().backward()
    assert all(torch.equal(old, new) for old, new in zip(before, statistics(trunk), strict=True))
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(parameter.requires_grad for norm in norms for parameter in norm.parameters())


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 3])
def test_the_stem_is_the_first_frozen_stage_and_later_ones_train(frozen_stages: int) -> None:
    trunk = trunk_of((1, 1, 1), norm="trained", frozen_stages=frozen_stages).train()
    parts = [trunk.stem, *trunk.stages]
    before = [statistics(part) for part in parts]
    trunk(torch.randn(2, 3, 64, 64))[-1].square().mean().backward()
    for index, part in enumerate(parts):
        frozen = index < frozen_stages
        moved = [not torch.equal(old, new) for old, new in zip(before[index], statistics(part), strict=True)]
        gradients = [parameter.grad is not None for parameter in part.parameters()]
        assert (not any(moved) and not any(gradients)) if frozen else (all(moved) and all(gradients))

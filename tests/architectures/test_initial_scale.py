"""Random weights keep the scale of what flows through them, however deep the network is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers import others_slow
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interaction import SingleStream
from vlbench.architectures.interfaces import Tokens
from vlbench.architectures.resnet import ResNetTrunk, initialise_convolutions, res5
from vlbench.specs import C4HeadSpec, ResNetSpec, SingleStreamSpec


def root_mean_square(values: Tensor) -> float:
    assert values.isfinite().all()
    return float(values.square().mean().sqrt())


@torch.no_grad()
@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
@pytest.mark.parametrize("seed", others_slow([0, 1]))
def test_res4_and_res5_of_a_full_resnet_101_keep_unit_scale(seed: int, stride_in: str) -> None:
    trunk = ResNetTrunk(
        ResNetSpec(blocks=(3, 4, 23), groups=1, group_width=64, stride_in=stride_in, norm="frozen", frozen_stages=2)
    ).eval()
    initialise_random(trunk, seed)
    features = trunk(torch.randn(1, 3, 96, 128))[-1]
    assert 0.2 < root_mean_square(features) < 5
    stage = res5(C4HeadSpec(kind="c4"), inputs=1024, stride_in=stride_in).eval()
    initialise_convolutions(stage, torch.Generator().manual_seed(seed))
    pooled = torch.nn.functional.interpolate(features, (14, 14))
    assert 0.2 < root_mean_square(stage(pooled)) < 5


@torch.no_grad()
def test_a_full_resnext_152_keeps_unit_scale() -> None:
    trunk = ResNetTrunk(
        ResNetSpec(blocks=(3, 8, 36, 3), groups=32, group_width=4, stride_in="3x3", norm="frozen", frozen_stages=2)
    ).eval()
    initialise_random(trunk, seed=0)
    assert 0.2 < root_mean_square(trunk(torch.randn(1, 3, 96, 128))[-1]) < 5


@torch.no_grad()
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_deep_transformer_keeps_unit_scale(norm: str) -> None:
    model = SingleStream(
        SingleStreamSpec(
            kind="single_stream",
            layers=24,
            width=64,
            heads=4,
            mlp_width=256,
            norm=norm,
            modal_types=False,
            dropout=0.0,
            layer_norm_eps=1e-12,
        )
    ).eval()
    initialise_random(model, seed=0)
    joint = model(None, Tokens(values=torch.randn(2, 10, 64), mask=None))
    assert 0.5 < root_mean_square(joint.image.values) < 2

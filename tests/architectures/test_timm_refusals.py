"""What timm's weights are refused for: in one line, and with the model as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_timm_checkpoints import changed, of_other_parts, patches_of, resnet, vit, with_backbone
from weights import Weights

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.timm import load_timm
from vlbench.errors import InputError
from vlbench.specs.catalog import catalog


def lacking(state: Weights, name: str) -> Weights:
    return {key: tensor for key, tensor in state.items() if key != name}


REFUSED = {
    "strides in the 1x1": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1), stride_in="1x1"), resnet().state_dict()),
        "visual.backbone.stride_in: 3x3 in the model file fits",
    ),
    "a ResNet for patches": (
        lambda: (patches_of("vilt-b32"), resnet().state_dict()),
        "a ResNet under timm's names, but this model has no such backbone; it takes a ViT's",
    ),
    "a ResNet for CLIP's": (
        lambda: (changed("clip-rn50"), resnet().state_dict()),
        "has no such backbone; it takes the weights of the whole model",
    ),
    "a ViT for a backbone": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1)), vit().state_dict()),
        "a ViT under timm's names, but this model reads no patches with it; it takes a ResNet's",
    ),
    "more bottlenecks": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 1, 1)), resnet().state_dict()),
        r"holds layer3\.1\.conv1.* which this model has no place for",
    ),
    "fewer bottlenecks": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 2)), resnet().state_dict()),
        r"has nothing for visual\.backbone\.stages\.3\.1\.conv1",
    ),
    "another stem": (
        lambda: (
            with_backbone("pixelbert-r50", (1, 2, 2, 1)),
            resnet().state_dict() | {"conv1.0.weight": torch.zeros(1)},
        ),
        "holds conv1.0.weight, which this model has no place for",
    ),
    "wider groups": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1)), resnet("resnext50_32x4d").state_dict()),
        "visual.backbone.stages.0.0.conv1.weight is 128x64x1x1 there and 64x64x1x1 here",
    ),
    "no running mean": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1)), lacking(resnet().state_dict(), "bn1.running_mean")),
        "has nothing for visual.backbone.stem.1.running_mean",
    ),
    "another grid": (
        lambda: (patches_of("vilt-b32", (7, 7)), vit().state_dict()),
        r"positions of 12x12 patches, this model's are 49; visual.position_grid: \[12, 12\] in the model file fits",
    ),
    "more layers": (
        lambda: (patches_of("vilt-b32"), vit(depth=3).state_dict()),
        "holds blocks.2.norm1.* which this model has no place for",
    ),
    "post-norm layers": (
        lambda: (
            changed("vilt-b32", visual={"position_grid": (12, 12)}, interaction={"norm": "post"}),
            vit().state_dict(),
        ),
        "whose layers are pre-norm; interaction.norm: pre fits",
    ),
    "a register": (
        lambda: (patches_of("vilt-b32"), vit().state_dict() | {"reg_token": torch.zeros(1)}),
        "holds reg_token, which this model has no place for",
    ),
}


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_in_one_line_and_changes_nothing(case: object, message: str) -> None:
    model, state = case()
    before = of_other_parts(model, ())
    with pytest.raises(InputError, match=f"weights it: .*{message}") as refusal:
        load_timm(model, state, "it")
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"bert.pooler.weight": torch.zeros(1)}, r"\(its first tensor is bert.pooler.weight\), not the visual part of"),
        ({}, r"\(it holds no tensor\), not the visual part of pixelbert-r50"),
    ],
    ids=["another family", "no weights"],
)
def test_what_is_not_timms_is_left_alone_and_refused_as_a_file(tmp_path: Path, state: dict, message: str) -> None:
    assert load_timm(with_backbone("pixelbert-r50", (1, 2, 2, 1)), state, "it") is None
    save_file(state, tmp_path / "other.safetensors")
    spec = catalog()["pixelbert-r50"].tiny()
    visual = spec.visual.model_copy(update={"weights": str(tmp_path / "other.safetensors")})
    with pytest.raises(InputError, match=message) as refusal:
        build(spec.model_copy(update={"visual": visual}))
    assert "\n" not in str(refusal.value)

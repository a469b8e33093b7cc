"""What timm's weights are refused for: in one line, and with the model as it was."""

from __future__ import annotations

import pytest
import torch
from test_timm_checkpoints import changed, of_other_parts, patches_of, resnet, vit, with_backbone
from weights import Weights

from vlbench.architectures.checkpoints.timm import timm_loaded
from vlbench.errors import InputError


def lacking(state: Weights, name: str) -> Weights:
    return {key: tensor for key, tensor in state.items() if key != name}


REFUSED = {
    "another family": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1)), {"bert.pooler.weight": torch.zeros(1)}),
        "no ResNet and no ViT under timm's names; its first is bert.pooler.weight",
    ),
    "no weights": (
        lambda: (with_backbone("pixelbert-r50", (1, 2, 2, 1)), {}),
        "no ResNet and no ViT under timm's names; it is empty",
    ),
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
        timm_loaded(model, state, source="it")
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())

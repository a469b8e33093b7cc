"""ImageNet weights under timm's names: a ResNet for a backbone, a ViT for patches and the layers behind them.

They initialise only the visual part; all other weights keep their values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from vlbench.architectures.checkpoints.rules import COUNTERS, Dropped, Family, Rule, State, mapped, recognised
from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.architectures.vl_model import VLModel

BACKBONE, RES5, STAGES = "visual.backbone.", "visual.roi_head.res5.", 4
STEM = f"{BACKBONE}stem.0.weight"  # the stem of CLIP's ResNet has its names a level deeper
PATCH, POSITIONS = "visual.patch.weight", "visual.positions"
BLOCKS, LAST_NORM = "interaction.blocks.", "interaction.norm."
_IMAGENET = "classifies ImageNet, which no task here uses"


def _bottlenecks(ours: str, theirs: str) -> tuple[Rule, ...]:
    """A stage of torchvision's bottlenecks, whose parts have the same names in timm."""
    parts = ("conv{m}.weight", "bn{m}.{s}", "downsample.0.weight", "downsample.1.{s}")
    return tuple(Rule(f"{ours}.{{n}}.{part}", f"{theirs}.{{n}}.{part}") for part in parts)


RESNET = Family(
    title="a ResNet under timm's names",
    signature=("conv1.weight", "bn1.running_var", "layer1.0.conv1.weight"),
    rules=(
        Rule(STEM, "conv1.weight"),
        Rule(f"{BACKBONE}stem.1.{{s}}", "bn1.{s}"),
        *(rule for index in range(STAGES) for rule in _bottlenecks(f"{BACKBONE}stages.{index}", f"layer{index + 1}")),
        *_bottlenecks(RES5.removesuffix("."), f"layer{STAGES}"),
    ),
    dropped=(Dropped("fc.*", _IMAGENET), COUNTERS),
)
VIT = Family(
    title="a ViT under timm's names",
    signature=("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"),
    rules=(
        Rule("visual.class_token", "cls_token"),
        Rule(POSITIONS, "pos_embed"),
        Rule("visual.patch.{p}", "patch_embed.proj.{p}"),
        Rule("interaction.blocks.{n}.attention.qkv.{p}", "blocks.{n}.attn.qkv.{p}"),
        Rule("interaction.blocks.{n}.attention.out.{p}", "blocks.{n}.attn.proj.{p}"),
        Rule("interaction.blocks.{n}.attention_norm.{p}", "blocks.{n}.norm1.{p}"),
        Rule("interaction.blocks.{n}.mlp.expand.{p}", "blocks.{n}.mlp.fc1.{p}"),
        Rule("interaction.blocks.{n}.mlp.contract.{p}", "blocks.{n}.mlp.fc2.{p}"),
        Rule("interaction.blocks.{n}.mlp_norm.{p}", "blocks.{n}.norm2.{p}"),
        Rule("interaction.norm.{p}", "norm.{p}"),
    ),
    dropped=(Dropped("head.*", _IMAGENET),),
)
TIMM_FAMILIES = (RESNET, VIT)


def load_timm(model: VLModel, state: State, source: str) -> str | None:
    """Fills a model's ResNet backbone, and with a C4 head its res5; or its patches and the pre-norm layers behind them.

    ViLT starts from a ViT in this way (Kim et al. 2021, section 4.1). Text, modal types, heads and the other parts of a
    detector keep their weights.

    Returns:
        what the weights are; None, with nothing done, if they are not timm's.

    Raises:
        InputError: if the model has no place for the weights, would compute something else with them, or if one of
            them does not fit.

    Args:
        model: is changed.
        state: theirs, by their names.
        source: of the weights, for messages.
    """
    family = next(recognised(TIMM_FAMILIES, state), None)
    if family is None:
        return None
    tensors = map_timm(model, family, state, source=source)
    model.load_state_dict(tensors, strict=False)  # `mapped` was strict about what these weights are for
    return family.title


def map_timm(model: VLModel, family: Family, state: State, *, source: str) -> dict[str, Tensor]:
    """What `load_timm` fills in, by our names; the model may be on the meta device. Raises as `load_timm`."""
    ours = model.state_dict()
    if family is RESNET:
        return _resnet(model, ours, state, source)
    return _vit(ours, state, source)


def _resnet(model: VLModel, ours: State, state: State, source: str) -> dict[str, Tensor]:
    if STEM not in ours:
        raise InputError(
            f"weights {source}: {RESNET.title}, but this model has no such backbone; {_fitting_weights(ours)}"
        )
    _refuse_other_stride(model, source)
    expected = {name: tensor for name, tensor in ours.items() if name.startswith((BACKBONE, RES5))}
    cut = tuple(
        Dropped(f"layer{index + 1}.*", "a stage that this backbone ends before")
        for index in range(STAGES)
        if f"{BACKBONE}stages.{index}.0.conv1.weight" not in ours
        and not (index == STAGES - 1 and f"{RES5}0.conv1.weight" in ours)
    )
    return mapped(replace(RESNET, dropped=(*RESNET.dropped, *cut)), state, expected, source=source)


def _refuse_other_stride(model: VLModel, source: str) -> None:
    """Refuses a backbone whose strides are in other convolutions: with the same tensors it is another network."""
    for name, module in model.visual.named_modules(prefix="visual"):
        if name.startswith((BACKBONE, RES5)) and name.endswith(".conv1") and max(module.stride) > 1:  # type: ignore[arg-type]
            raise InputError(
                f"weights {source}: timm's ResNets take their strides in the 3x3, this backbone in the 1x1; "
                "visual.backbone.stride_in: 3x3 in the model file fits"
            )


def _vit(ours: State, state: State, source: str) -> dict[str, Tensor]:
    if PATCH not in ours or f"{BLOCKS}0.attention.qkv.weight" not in ours:
        raise InputError(
            f"weights {source}: {VIT.title}, but this model reads no patches with it; {_fitting_weights(ours)}"
        )
    if f"{LAST_NORM}weight" not in ours:
        raise InputError(f"weights {source}: {VIT.title}, whose layers are pre-norm; interaction.norm: pre fits")
    _refuse_other_grid(ours, state, source)
    expected = {name: tensor for name, tensor in ours.items() if name.startswith(("visual.", BLOCKS, LAST_NORM))}
    return mapped(VIT, state, expected, source=source)


def _refuse_other_grid(ours: Mapping[str, Tensor], state: State, source: str) -> None:
    """Refuses positions of another grid; only the model interpolates positions, image by image."""
    theirs, expected = (table.shape[1] - 1 for table in (state["pos_embed"], ours[POSITIONS]))
    side = math.isqrt(max(theirs, 0))
    if theirs != expected and side * side == theirs:
        raise InputError(
            f"weights {source}: positions of {side}x{side} patches, this model's are {expected}; "
            f"visual.position_grid: [{side}, {side}] in the model file fits, and other sizes are interpolated"
        )


def _fitting_weights(ours: State) -> str:
    """The weights that such a model takes."""
    if PATCH in ours:
        return "it takes a ViT's"
    if STEM in ours:
        return "it takes a ResNet's"
    return "it takes the weights of the whole model"

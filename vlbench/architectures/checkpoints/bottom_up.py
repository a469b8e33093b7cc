"""The detector of bottom-up attention (Anderson et al. 2018), as py-bottom-up-attention and its successors released it.

It reads blue, green and red from 0 to 255 minus their means, and pools after its stem as Caffe does. Loading the
weights sets up both, so that images are prepared as for any other model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vlbench.architectures.checkpoints.detectron2_names import C4_NAMES, COUNTER, STATISTICS
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, mapped, recognised
from vlbench.errors import InputError
from vlbench.specs.model import Input

if TYPE_CHECKING:
    from vlbench.architectures.vl_model import VLModel

STEPS = ("backbone", "rpn", "roi_head")
MEAN_BGR = (102.9801, 115.9465, 122.7717)  # if a checkpoint does not hold its own
STD_BGR = (1.0, 1.0, 1.0)
STEM, STEM_MEAN = "visual.backbone.stem.0.weight", "visual.backbone.stem.1.running_mean"

_PREDICTOR = "roi_heads.box_predictor"
BOTTOM_UP_FAMILIES = (
    Family(
        title="the detector of bottom-up attention",
        signature=("proposal_generator.rpn_head.conv.weight", f"{_PREDICTOR}.cls_score.weight"),
        rules=tuple(Rule(f"visual.{ours}", theirs) for ours, theirs in C4_NAMES),
        dropped=(
            Dropped(
                f"{_PREDICTOR}.cls_embedding.*", "the attribute head's view of the class; no model reads attributes"
            ),
            Dropped(f"{_PREDICTOR}.fc_attr.*", "the attribute head; no model reads attributes"),
            Dropped(f"{_PREDICTOR}.attr_score.*", "the attribute head; no model reads attributes"),
            Dropped("proposal_generator.anchor_generator.*", "anchors, made from the model's description"),
            Dropped("pixel_mean", "put into the first convolution and the norm behind it"),
            Dropped("pixel_std", "put into the first convolution"),
            Dropped(f"*.{COUNTER}", "counts the batches of a training"),
        ),
    ),
)


def fill_bottom_up(model: VLModel, state: Mapping[str, Tensor], source: str, *, pixels: Input) -> str | None:
    """As `load_detector`, and gives what the checkpoint is; does nothing and gives None if it is something else."""
    for family in recognised(BOTTOM_UP_FAMILIES, state):
        load_detector(model, state, source=source, pixels=pixels)
        return family.title
    return None


def load_detector(model: VLModel, state: Mapping[str, Tensor], *, source: str, pixels: Input) -> None:
    """Fills the detector of a region model, strictly; the projection and all later parts keep their weights.

    From then on the detector passes on its own proposals, however many they are. Images of `pixels.mean` and
    `pixels.std` are read as the detector was trained, except for the padding of the first convolution, which differs
    as those means do.

    Args:
        state: the checkpoint's tensors by its names.
        source: of the checkpoint, for messages.
        pixels: how the model's images are normalised.

    Raises:
        InputError: in one line, where the model has no such detector, the checkpoint is something else, or their
            tensors do not pair off.
    """
    from vlbench.architectures.region import (  # noqa: PLC0415  it imports torchvision, slow to load
        CAFFE_POOLING,
        TRAINED,
        RegionEmbedder,
    )

    visual = model.visual
    if not isinstance(visual, RegionEmbedder) or visual.rpn is None:
        raise InputError(f"weights {source}: a detector's, and this model has none that proposes boxes")
    family = next(iter(recognised(BOTTOM_UP_FAMILIES, state)), None)
    if family is None:
        known = BOTTOM_UP_FAMILIES[0]
        absent = next(name for name in known.signature if name not in state)
        first = next(iter(state), "nothing")
        raise InputError(f"weights {source}: not {known.title}: it holds no {absent}, but {first} and the like")
    expected = {
        f"visual.{name}": values
        for name, values in visual.state_dict().items()
        if name.split(".")[0] in STEPS and not name.endswith(COUNTER)
    }
    filled = mapped(family, _with_statistics(state), expected, source=source)
    filled |= _reading(filled, state, pixels)
    visual.load_state_dict({name.removeprefix("visual."): values for name, values in filled.items()}, strict=False)
    visual.load_extra_state((TRAINED, CAFFE_POOLING))


def _with_statistics(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adds mean 0 and variance 1 for norms that have only a scale and a shift, as Detectron2 does."""
    completed = dict(state)
    for name, scale in state.items():
        if name.endswith(".norm.weight"):
            for kind, value in zip(STATISTICS, (0.0, 1.0), strict=True):
                completed.setdefault(name.removesuffix("weight") + kind, torch.full_like(scale, value))
    return completed


def _reading(filled: Mapping[str, Tensor], state: Mapping[str, Tensor], pixels: Input) -> dict[str, Tensor]:
    """The first convolution and the mean after it, for red, green and blue of the model's own normalisation.

    The input that the detector was trained on is `scale` x ours + `shift`, per channel.
    """
    mean_3, std_3 = (
        state.get(name, torch.tensor(default)).flatten().float().flip(0)
        for name, default in (("pixel_mean", MEAN_BGR), ("pixel_std", STD_BGR))
    )
    scale_3: Tensor = 255 * torch.tensor(pixels.std) / std_3
    shift_3: Tensor = (255 * torch.tensor(pixels.mean) - mean_3) / std_3
    weight_O3HW = filled[STEM].flip(1)
    return {
        STEM: weight_O3HW * scale_3[:, None, None],
        STEM_MEAN: filled[STEM_MEAN] - (weight_O3HW * shift_3[:, None, None]).sum(dim=(1, 2, 3)),
    }

"""Small models whose sizes are those of small reference models, and files of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from examples import images_of, mask_of
from safetensors.torch import save_file
from torch import Tensor

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Joint, Text, Tokens, merge_rows, repeat_rows
from vlbench.architectures.region import Regions
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog
from vlbench.specs.heads import TaskKind

VOCABULARY, POSITIONS, WIDTH, LAYERS, HEADS, MLP, CHANNELS, PATCH = 60, 40, 32, 3, 4, 80, 20, 16
THEIRS = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": POSITIONS,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": MLP,
}


def changed(part: Any, changes: Mapping[str, Any]) -> Any:
    """The same with other values at dotted names, unchecked."""
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        inner = changed(getattr(part, name), {rest: value}) if rest else value
        part = part.model_copy(update={name: inner})
    return part


def small(name: str, task: TaskKind | None = None, *, answers: int = 7, **changes: Any) -> ModelSpec:
    """A model of the catalogue in the sizes above, for a kind of task; `a__b` in `changes` is `a.b`."""
    spec = catalog()[name].tiny()
    sizes: dict[str, Any] = {"text.vocabulary": VOCABULARY, "text.positions": POSITIONS}
    sizes |= {"interaction.layers": LAYERS, "interaction.mlp_width": MLP}
    if spec.family == "region":
        sizes["visual.projection.inputs"] = CHANNELS
    else:
        sizes |= {"visual.patch_size": PATCH, "visual.position_grid": (4, 4)}
    spec = changed(spec, sizes)
    if task is not None:
        spec = spec.for_task(task, answers if task == "answers" else None)
    return changed(spec, {path.replace("__", "."): value for path, value in changes.items()})


def written(path: Path, state: Mapping[str, Tensor]) -> str:
    """A safetensors file of the tensors."""
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in state.items()}, path)
    return str(path)


def loaded(spec: ModelSpec, source: str) -> VLModel:
    """In eval mode."""
    return build(spec.model_copy(update={"weights": source})).eval()


def words_of(*lengths: int) -> Text:
    """Random words between [CLS] and [SEP], whatever their ids."""
    return Text(ids=torch.randint(1, VOCABULARY, (len(lengths), max(lengths))), mask=mask_of(*lengths))


class GivenRegions:
    """Features that a detector would have found in two images a text, or one."""

    def __init__(self, *counts: int) -> None:
        self.features = torch.randn(len(counts), max(counts), CHANNELS)
        corners = torch.rand(len(counts), max(counts), 2) * 4
        self.boxes = torch.cat((corners, corners + torch.rand_like(corners) * 4), dim=2)
        self.mask = mask_of(*counts)
        self.images = replace(images_of(*[(8, 8)] * len(counts)))

    @property
    def places(self) -> Tensor:
        """UNITER's seven numbers."""
        share = self.boxes / 8
        extent = share[..., 2:] - share[..., :2]
        return torch.cat((share, extent, extent.prod(dim=2, keepdim=True)), dim=2)

    def tokens(self, model: VLModel) -> Tokens:
        regions = Regions(
            features=self.features, boxes=self.boxes, confidence=torch.ones_like(self.boxes[..., 0]), mask=self.mask
        )
        return model.visual.projection(regions, self.images)


@torch.no_grad()
def joint_of(model: VLModel, words: Text, regions: GivenRegions, *, together: bool = False) -> Joint:
    """What the head of a region model reads, without its detector."""
    text, image = model.text(words), regions.tokens(model)
    if together:
        image = merge_rows(image, 2)
    elif len(regions.features) > len(words.ids):
        text = repeat_rows(text, 2)
    return model.interaction(text, image)


def pixel_mask(images: Images) -> Tensor:
    mask = torch.zeros(images.pixels.shape[0], *images.pixels.shape[-2:], dtype=torch.long)
    for row, (height, width) in zip(mask, images.sizes, strict=True):
        row[:height, :width] = 1
    return mask

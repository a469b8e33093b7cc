"""Presets: one transformer, one size of image and one visual embedder of each family, in a YAML file each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from vlbench.errors import InputError
from vlbench.frozen import Frozen
from vlbench.specs import AnySpec, ModelSpec, ResNetSpec
from vlbench.specs.base import Fraction
from vlbench.specs.catalog import read_yaml
from vlbench.specs.detector import C4HeadSpec, FeaturePyramidSpec, FpnHeadSpec, RegionProposalSpec, RegionSelectionSpec
from vlbench.training.recipe import Recipe

PRESETS = ("tiny", "small", "base")
FOLDER = Path(__file__).parent
WHAT = "a preset: the file must be a mapping with image_side, transformer, patch, grid and region"


class TransformerSize(Frozen):
    """Of the layers in which text and image meet. A model of two streams has `layers` of the text, half of the image
    and half that join them, at least one of each."""

    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt
    dropout: Fraction = 0.0

    @property
    def half(self) -> int:
        return max(1, self.layers // 2)


class PatchSize(Frozen):
    patch_size: PositiveInt


class GridSize(Frozen):
    backbone: ResNetSpec
    pool_size: PositiveInt
    sampled_pixels: PositiveInt = 100


class RegionSize(Frozen):
    backbone: ResNetSpec
    fpn: FeaturePyramidSpec | None = None
    rpn: RegionProposalSpec
    roi_head: Annotated[C4HeadSpec | FpnHeadSpec, Field(discriminator="kind")]
    nms: RegionSelectionSpec


class DetectorTraining(Frozen):
    """Attributes:
    samples: that it is trained on; `half_samples` of them where it is to be half-trained.
    anchors, regions, positive_regions, proposals: as `vlbench.training.detection.DetectionSettings` has them.
    """

    samples: PositiveInt
    half_samples: PositiveInt
    batch: PositiveInt
    learning_rate: PositiveFloat
    anchors: PositiveInt
    regions: PositiveInt
    positive_regions: Fraction
    proposals: PositiveInt


class Preset(Frozen):
    """What `vlbench train --preset` puts in the place of a model's own sizes.

    Attributes:
        image_side: of the square images, in pixels.
        learning_rate, clip, batch: of training, where the command says nothing else.
        samples: of the training, the same.
        detector: how that of a region model is trained before.
    """

    image_side: PositiveInt
    text_tokens: PositiveInt = 52
    transformer: TransformerSize
    patch: PatchSize
    grid: GridSize
    region: RegionSize
    recipe: Recipe = Recipe()
    learning_rate: PositiveFloat = 1e-4
    clip: PositiveFloat = 5.0
    batch: PositiveInt = 64
    samples: PositiveInt = 300_000
    detector: DetectorTraining


@cache
def read_preset(name: str) -> Preset:
    """Raises InputError where there is none of this name."""
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {', '.join(PRESETS)} work")
    return read_yaml(FOLDER / f"{name}.yaml", Preset, WHAT)


def sized(
    spec: AnySpec, preset: Preset, name: str, *, vocabulary: int, answers: int, sampled_pixels: int | None = None
) -> ModelSpec:
    """The architecture at a preset's sizes: its embedder of the same family, its interaction of the same kind.

    The text is embedded alike, norms come first and one linear layer answers from [MASK], so that models differ in how
    they see alone.

    Raises InputError where the architecture cannot be trained so: one of transformers, or one that compares one token
    of each modality and answers no question.

    Args:
        name: of the preset, for the model's own.
        vocabulary: pieces of the tokenizer.
        answers: to choose from.
        sampled_pixels: of a grid, while training; None: the preset's.
    """
    if not isinstance(spec, ModelSpec):
        raise InputError(f"--models: {spec.name} is a class of transformers; models of vlbench's own parts are trained")
    if spec.text is None or spec.interaction.scores:
        raise InputError(f"--models: {spec.name} answers no question; vilt, pixelbert and uniter work")
    width = preset.transformer.width
    content: dict[str, Any] = {
        "name": f"{spec.name}-{name}",
        "family": spec.family,
        "source": f"{spec.source}; sizes: the preset {name}",
        "seed": spec.seed,
        "input": {"image_size": [preset.image_side] * 2, "text_tokens": preset.text_tokens},
        "text": {
            "kind": "bert_embeddings",
            "vocabulary": vocabulary,
            "positions": preset.text_tokens,
            "width": width,
            "dropout": preset.transformer.dropout,
        },
        "visual": _visual(spec, preset, sampled_pixels),
        "interaction": _interaction(spec, preset.transformer),
        "head": {"kind": "vqa_linear", "reads": "last_word", "width": width, "answers": answers},
        "heads": {
            "answers": {"kind": "vqa_linear", "reads": "last_word", "width": width, "answers": answers},
            "pairs": {"kind": "pair_linear", "width": width},
            "ranking": {"kind": "itm", "width": width},
        },
    }
    return ModelSpec.model_validate(content)


def _visual(spec: ModelSpec, preset: Preset, sampled_pixels: int | None) -> dict[str, Any]:
    width, dropout = preset.transformer.width, preset.transformer.dropout
    if spec.family == "patch":
        cells = preset.image_side // preset.patch.patch_size
        size = {"patch_size": preset.patch.patch_size, "position_grid": [cells, cells]}
        return {"kind": "patch", "width": width, "dropout": dropout} | size
    if spec.family == "grid":
        sampled = {"sampled_pixels": sampled_pixels or preset.grid.sampled_pixels}
        return {"kind": "grid", "width": width} | _plain(preset.grid) | sampled
    projection = {"width": width, "dropout": dropout}
    own = getattr(spec.visual, "projection", None)
    if own is not None:
        kept = ("geometry", "combine", "segment", "norm", "whole_image")
        projection |= {key: getattr(own, key) for key in kept}
    return {"kind": "region", "projection": projection} | _plain(preset.region)


def _interaction(spec: ModelSpec, size: TransformerSize) -> dict[str, Any]:
    kind = spec.interaction.kind
    if kind == "single_stream":
        types = {"norm": "pre", "modal_types": True}
        return {"kind": kind} | types | _plain(size)
    if kind == "cross_modality":
        layers = {"text_layers": size.layers, "image_layers": size.half, "cross_layers": size.half}
        cross = {"cross": getattr(spec.interaction, "cross", "attention")}
        shared = {name: getattr(size, name) for name in ("width", "heads", "mlp_width", "dropout")}
        return {"kind": kind} | layers | cross | shared
    layers = {"text_layers": size.layers, "image_layers": size.half, "connections": size.half}
    sizes = {"width": size.width, "heads": size.heads, "mlp_width": size.mlp_width}
    each = {f"{of}_{key}": value for of in ("text", "image") for key, value in sizes.items()}
    connection = {"connection_width": size.width, "connection_heads": size.heads}
    return {"kind": kind, "dropout": size.dropout} | layers | each | connection


def _plain(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_none=True)

"""Presets: sizes that every architecture of a comparison is given, so that models differ only in how they see.

Each is a YAML file in `presets/`: one transformer, one image size, and one visual embedder per family.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from vlbench.errors import InputError
from vlbench.frozen import Frozen
from vlbench.specs import AnySpec, ModelSpec, ResNetSpec, TimmSpec
from vlbench.specs.bounds import Fraction
from vlbench.specs.catalog import read_yaml
from vlbench.specs.detector import C4HeadSpec, FeaturePyramidSpec, FpnHeadSpec, RegionProposalSpec, RegionSelectionSpec
from vlbench.training.recipe import Recipe

PRESETS = ("tiny", "small", "base")
FOLDER = Path(__file__).parent / "presets"
EXPECTED = "a preset: the file must be a mapping with image_side, transformer, patch, grid and region"


class TransformerSize(Frozen):
    """Size of the interaction. A model with two streams has `layers` text layers, half as many image layers and half as
    many layers that join them, at least one of each."""

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
    """How the detector of a region model is trained.

    Attributes:
        samples: number of training samples; `half_samples` for the recipe's `detector: half-trained`.
        anchors, regions, positive_regions, proposals: see `vlbench.training.detection.DetectionSettings`.
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
    """The sizes that `vlbench train --preset` gives every model, and the defaults of its training.

    Attributes:
        image_side: of the square images, in pixels.
        learning_rate, clip, batch, samples: of training, unless the command gives others.
        detector: how the detector of a region model is trained first.
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
    """The preset of this name. Raises InputError where there is none."""
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {', '.join(PRESETS)} work")
    return read_yaml(FOLDER / f"{name}.yaml", Preset, EXPECTED)


def with_preset_sizes(
    spec: AnySpec, preset: Preset, name: str, *, vocabulary: int, answers: int, sampled_pixels: int | None = None
) -> ModelSpec:
    """The architecture at a preset's sizes: a visual embedder of its family, an interaction of its kind.

    The rest is the same for all models: the text embedder, norms before the layers, and one linear layer that answers
    from [MASK].

    Raises InputError where the architecture cannot be trained: a class of transformers, or a model that compares one
    token per modality and answers no questions.

    Args:
        name: of the preset; it becomes a part of the model's name.
        vocabulary: number of pieces of the tokenizer.
        answers: number of possible answers.
        sampled_pixels: grid cells that a training step reads; None takes the preset's.
    """
    if not isinstance(spec, ModelSpec):
        raise InputError(
            f"--models: {spec.name} is not made of vlbench's own parts, and only such models can be trained"
        )
    if spec.text is None or spec.interaction.scores:
        raise InputError(f"--models: {spec.name} answers no questions; vilt, pixelbert and uniter work")
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
        "visual": _visual(spec, preset, name, sampled_pixels),
        "interaction": _interaction(spec, preset.transformer),
        "head": {"kind": "vqa_linear", "reads": "last_word", "width": width, "answers": answers},
        "heads": {
            "answers": {"kind": "vqa_linear", "reads": "last_word", "width": width, "answers": answers},
            "pairs": {"kind": "pair_linear", "width": width},
            "ranking": {"kind": "itm", "width": width},
        },
    }
    return ModelSpec.model_validate(content)


def _visual(spec: ModelSpec, preset: Preset, name: str, sampled_pixels: int | None) -> dict[str, Any]:
    width, dropout = preset.transformer.width, preset.transformer.dropout
    if spec.visual.kind == "patch":
        cells = preset.image_side // preset.patch.patch_size
        size = {"patch_size": preset.patch.patch_size, "position_grid": [cells, cells]}
        return {"kind": "patch", "width": width, "dropout": dropout} | size
    if spec.visual.kind == "grid":
        sampled = {"sampled_pixels": sampled_pixels or preset.grid.sampled_pixels}
        return {"kind": "grid", "width": width} | _as_dict(preset.grid) | sampled
    if spec.visual.kind == "region":
        kept_keys = ("geometry", "combine", "segment", "norm", "whole_image")
        kept = {key: getattr(spec.visual.projection, key) for key in kept_keys}
        projection = {"width": width, "dropout": dropout} | kept
        return {"kind": "region", "projection": projection} | _as_dict(preset.region)
    if isinstance(spec.visual, TimmSpec):
        return _timm(spec.visual.sized(name), preset, sampled_pixels)
    raise InputError(
        f"--models: {spec.name}: no preset has a size for the visual embedder {spec.visual.kind}; "
        "models with patch, grid, region or timm can be trained"
    )


def _timm(visual: TimmSpec, preset: Preset, sampled_pixels: int | None) -> dict[str, Any]:
    """A timm model at the size that its file has for the preset, or as it is, with the preset's patches or pixels."""
    content = visual.model_dump(mode="json", exclude={"presets", "weights"}, exclude_none=True)
    content["width"] = preset.transformer.width
    if visual.features == "map":
        sampled = sampled_pixels or preset.grid.sampled_pixels
        content |= {"pool_size": preset.grid.pool_size, "sampled_pixels": sampled}
    elif visual.patch_size:
        content["patch_size"] = preset.patch.patch_size
        content["model_args"] |= {"patch_size": preset.patch.patch_size, "img_size": preset.image_side}
    return content


def _interaction(spec: ModelSpec, size: TransformerSize) -> dict[str, Any]:
    kind = spec.interaction.kind
    if kind == "single_stream":
        return {"kind": kind, "norm": "pre", "modal_types": True} | _as_dict(size)
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


def _as_dict(part: BaseModel) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude_none=True)

"""What a model is made of, as data: one frozen schema a part, read from `models/*.yaml`.

A part's fields are the keyword-only arguments of the class in `vlbench.architectures` that it builds. Nothing here
imports torch, so that the command line can list and check models at once.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Size = tuple[PositiveInt, PositiveInt]  # height, width


class Part(BaseModel):
    """A frozen description; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def arguments(self) -> dict:
        """The constructor arguments: every field but `kind`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "kind"}

    def tiny(self) -> Part:
        """The same part with few and narrow layers, for tests and for a first look."""
        return self


TINY_WIDTH, TINY_HEADS, TINY_VOCABULARY = 32, 4, 128


class BertEmbeddings(Part):
    """Word, position and segment embeddings with a LayerNorm (BERT, section 3)."""

    kind: Literal["bert_embeddings"]
    vocabulary: PositiveInt = 30522
    positions: PositiveInt = 512
    segments: PositiveInt = 2
    width: PositiveInt = 768
    dropout: Fraction = 0.1
    layer_norm_eps: PositiveFloat = 1e-12

    def tiny(self) -> BertEmbeddings:
        return self.model_copy(update={"width": TINY_WIDTH, "vocabulary": TINY_VOCABULARY})


class Patch(Part):
    """Linear projection of patches with learned positions (ViT, section 3.1; ViLT, section 3.1)."""

    kind: Literal["patch"]
    patch_size: PositiveInt
    width: PositiveInt = 768
    position_grid: Size
    align_corners: bool = False
    dropout: Fraction = 0.0

    def tiny(self) -> Patch:
        return self.model_copy(update={"width": TINY_WIDTH})


class ResNet(Part):
    """A ResNet or ResNeXt trunk without its classifier; `blocks` has one entry a stage that is kept, res2 first."""

    blocks: tuple[PositiveInt, ...] = Field(min_length=2, max_length=4)
    groups: PositiveInt = 1
    group_width: PositiveInt = 64
    stride_in: Literal["1x1", "3x3"] = "3x3"
    norm: Literal["frozen", "trained"] = "frozen"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 0

    def tiny(self) -> ResNet:
        return self.model_copy(update={"blocks": (1,) * len(self.blocks)})


class Grid(Part):
    """Feature-map pixels of a CNN (Pixel-BERT, section 3.2)."""

    kind: Literal["grid"]
    backbone: ResNet
    pool_size: PositiveInt = 2
    projection_inputs: PositiveInt | None = None
    width: PositiveInt = 768
    sampled_pixels: PositiveInt = 100

    @model_validator(mode="after")
    def _projection_reads_all_channels(self) -> Grid:
        channels = 256 * 2 ** (len(self.backbone.blocks) - 1)
        if self.projection_inputs and self.projection_inputs < channels:
            raise ValueError(f"projection_inputs is {self.projection_inputs}, but the backbone has {channels} channels")
        return self

    def tiny(self) -> Grid:
        return self.model_copy(update={"backbone": self.backbone.tiny(), "width": TINY_WIDTH, "sampled_pixels": 3})


class RegionProposal(Part):
    """Region proposal network (Faster R-CNN, section 3.1)."""

    channels: PositiveInt
    anchor_sizes: tuple[PositiveInt, ...] = Field(min_length=1)
    aspect_ratios: tuple[PositiveFloat, ...] = Field((0.5, 1.0, 2.0), min_length=1)
    candidates: PositiveInt = 6000
    proposals: PositiveInt
    nms_iou: Fraction = 0.7
    min_box_size: float = 0.0

    def tiny(self) -> RegionProposal:
        return self.model_copy(update={"channels": 16, "candidates": 60, "proposals": 12, "min_box_size": 0.0})


class C4Head(Part):
    """RoI head that runs res5 on every region (He et al. 2016, "C4"), then classifies it."""

    kind: Literal["c4"] = "c4"
    pooling: Literal["roi_align", "roi_pool"] = "roi_align"
    pool_size: PositiveInt = 14
    blocks: PositiveInt = 3
    stride: Literal[1, 2] = 2
    dilation: Literal[1, 2] = 1
    classes: PositiveInt = 1600
    box_regression: Literal["per_class", "class_agnostic"] = "per_class"

    def tiny(self) -> C4Head:
        return self.model_copy(update={"blocks": 1, "classes": 9})


class RegionSelection(Part):
    """Non-maximum suppression and the choice of regions (bottom-up attention, section 3.1)."""

    method: Literal["per_class_loop", "per_class_batched", "class_agnostic"] = "per_class_loop"
    iou: Fraction = 0.3
    regions: PositiveInt = 36

    def tiny(self) -> RegionSelection:
        return self.model_copy(update={"regions": 5})


class Region(Part):
    """Regions of a Faster R-CNN with their box geometry (UNITER, section 3.1)."""

    kind: Literal["region"]
    backbone: ResNet
    rpn: RegionProposal
    roi_head: C4Head
    nms: RegionSelection
    width: PositiveInt = 768
    dropout: Fraction = 0.1
    layer_norm_eps: PositiveFloat = 1e-12

    @model_validator(mode="after")
    def _regions_fit(self) -> Region:
        if self.nms.regions > self.rpn.proposals:
            raise ValueError(f"nms.regions is {self.nms.regions}, more than rpn.proposals, {self.rpn.proposals}")
        if len(self.backbone.blocks) != 3:
            raise ValueError(f"backbone.blocks has {len(self.backbone.blocks)} stages; a C4 head needs res2 to res4, 3")
        return self

    def tiny(self) -> Region:
        parts = {name: getattr(self, name).tiny() for name in ("backbone", "rpn", "roi_head", "nms")}
        return self.model_copy(update=parts | {"width": TINY_WIDTH})


class SingleStream(Part):
    """One transformer over text and image tokens (BERT for post-norm, ViT for pre-norm)."""

    kind: Literal["single_stream"]
    layers: PositiveInt = 12
    width: PositiveInt = 768
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    norm: Literal["pre", "post"]
    modal_types: bool = False
    dropout: Fraction = 0.1
    layer_norm_eps: PositiveFloat = 1e-12

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SingleStream:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        return self

    def tiny(self) -> SingleStream:
        small = {"layers": 2, "width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small)


class PooledFeature(Part):
    """The image's feature alone: the first token, or the mean of the others (ViT, section 3.1 and appendix D.3)."""

    kind: Literal["pooled_feature"]
    pooling: Literal["cls", "mean"] = "cls"


class ImageTextMatching(Part):
    """Does the text describe the image: pooler, then two classes (UNITER, section 3.2; ViLT, section 3.2)."""

    kind: Literal["itm"]
    width: PositiveInt = 768

    def tiny(self) -> ImageTextMatching:
        return self.model_copy(update={"width": TINY_WIDTH})


class VisualQuestionAnswering(Part):
    """Answer classifier: pooler, then a two-layer MLP (ViLT, section 4.2)."""

    kind: Literal["vqa"]
    width: PositiveInt = 768
    answers: PositiveInt = 3129
    layer_norm_eps: PositiveFloat = 1e-5

    def tiny(self) -> VisualQuestionAnswering:
        return self.model_copy(update={"width": TINY_WIDTH, "answers": 11})


class Input(Part):
    """What one example looks like: the image is resized to exactly `image_size`, the text padded to `text_tokens`."""

    image_size: Size
    text_tokens: Annotated[int, Field(ge=0)] = 0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)


class ModelSpec(Part):
    """One file of `models/`: the parts of an architecture, its input, and what its paper says of it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    aliases: tuple[str, ...] = ()
    family: Literal["patch", "grid", "region"]
    archetype: Literal["a", "b", "c", "d"] | None = None
    source: str
    note: str = ""
    seed: int = 0
    input: Input
    text: BertEmbeddings | None = None
    visual: Annotated[Patch | Grid | Region, Field(discriminator="kind")]
    interaction: SingleStream
    head: Annotated[PooledFeature | ImageTextMatching | VisualQuestionAnswering, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelSpec:
        if self.family != self.visual.kind:
            raise ValueError(f"family is {self.family!r} but visual.kind is {self.visual.kind!r}")
        widths = {"visual": self.visual.width, "interaction": self.interaction.width}
        if self.text:
            widths["text"] = self.text.width
        if not isinstance(self.head, PooledFeature):
            widths["head"] = self.head.width
        if len(set(widths.values())) > 1:
            raise ValueError(f"parts of different width: {', '.join(f'{k} {v}' for k, v in widths.items())}")
        if bool(self.text) != bool(self.input.text_tokens):
            raise ValueError("input.text_tokens needs a text part, and a text part needs input.text_tokens")
        self.check_input()
        return self

    def check_input(self) -> None:
        """Raises ValueError where the input does not fit the parts."""
        height, width = self.input.image_size
        if isinstance(self.visual, Patch):
            step = self.visual.patch_size
            if height % step or width % step:
                near = "x".join(str(max(step, round(side / step) * step)) for side in (height, width))
                raise ValueError(f"image size {height}x{width} is no multiple of the {step}-pixel patch; {near} works")
        if isinstance(self.visual, Grid):
            smallest = 2 ** (len(self.visual.backbone.blocks) + 1) * (self.visual.pool_size - 1) + 1
            if min(height, width) < smallest:
                raise ValueError(f"image size {height}x{width} leaves no pixel; each side needs {smallest} at least")
        if not 32 <= min(height, width) <= max(height, width) <= 4096:
            raise ValueError(f"image size {height}x{width}: each side must be from 32 to 4096 pixels")
        if self.text and self.input.text_tokens > self.text.positions:
            raise ValueError(f"{self.input.text_tokens} text tokens, but the model has {self.text.positions} positions")

    def with_input(self, *, image_size: Size | None = None, text_tokens: int | None = None) -> ModelSpec:
        """A copy for another input. Raises ValueError where it does not fit the parts."""
        size = {"image_size": image_size} if image_size else {}
        length = {"text_tokens": text_tokens} if text_tokens is not None and self.text else {}
        changed = self.model_copy(update={"input": self.input.model_copy(update=size | length)})
        changed.check_input()
        return changed

    def tiny(self) -> ModelSpec:
        """The same architecture, small enough to build and run in a fraction of a second."""
        step = self.visual.patch_size if isinstance(self.visual, Patch) else 32
        parts = {
            name: part.tiny() for name in ("text", "visual", "interaction", "head") if (part := getattr(self, name))
        }
        tokens = min(self.input.text_tokens, 20)  # room for the default sentence
        size = Input(image_size=(4 * step, 6 * step), text_tokens=tokens, mean=self.input.mean, std=self.input.std)
        return self.model_copy(update=parts | {"name": f"{self.name}-tiny", "input": size})

    def hash(self) -> str:
        """Of what is measured: every field but those that only describe (aliases, source, note, archetype)."""
        described = self.model_dump(mode="json", exclude={"aliases", "source", "note", "archetype"})
        return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

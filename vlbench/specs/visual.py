"""Visual embedders: those that give a row of tokens, and those that give one token for the whole image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import (
    RANDOM,
    TINY_HEADS,
    TINY_WIDTH,
    Engine,
    Fraction,
    Part,
    Size,
    check_heads,
    check_patches,
    check_side,
)
from vlbench.specs.detector import (
    C4HeadSpec,
    FeaturePyramidSpec,
    FpnHeadSpec,
    RegionProposalSpec,
    RegionSelectionSpec,
    ResNetSpec,
)

CLIP_RESNET_STRIDE, CLIP_RESNET_CHANNELS = 32, 2048


class VisualSpec(Part):
    """A visual embedder. A new one needs its fields, `family`, `implementation`, `tiny`, and what differs from here.

    Class attributes:
        family: by which results are grouped.
        one_token: whether an image becomes a single token.
        has_detector: whether it finds the regions of an image, by an engine that can be chosen.
    """

    family: ClassVar[Literal["patch", "grid", "region"]]
    one_token: ClassVar[bool] = False
    has_detector: ClassVar[bool] = False

    @property
    def side_multiple(self) -> int:
        """Both sides of an image must be multiples of it, in pixels."""
        return 1

    @property
    def region_channels(self) -> tuple[int, ...]:
        """How many channels the feature of a precomputed region may have; empty if it cannot read regions."""
        return ()

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where it cannot embed an image of this size."""

    def without_sampling(self) -> VisualSpec:
        """The same, but in evaluation all tokens are kept, and not a random choice."""
        return self


class MeanFeatureSpec(VisualSpec):
    """The mean of a CNN's feature map, projected to a token of length 1 (VSE++, section 3.1)."""

    implementation: ClassVar[str] = "vlbench.architectures.grid:MeanFeatureEmbedder"
    family: ClassVar[Literal["patch", "grid", "region"]] = "grid"
    one_token: ClassVar[bool] = True
    kind: Literal["mean_feature"]
    weights: str = Field(RANDOM, min_length=1)
    backbone: ResNetSpec
    width: PositiveInt = 1024

    def tiny(self) -> MeanFeatureSpec:
        return self.model_copy(update={"backbone": self.backbone.tiny(), "width": TINY_WIDTH})


class VisionTransformerSpec(VisualSpec):
    """A transformer over patches; its projected class token stands for the image (CLIP, section 2.4).

    Args:
        patch_size: side of a patch, in pixels.
        position_grid: rows and columns of the learned positions; for any other grid they are interpolated bilinearly.
        layers, inner_width, heads, mlp_width: of the transformer.
        width: of the token that stands for the image.
    """

    implementation: ClassVar[str] = "vlbench.architectures.clip:VisionTransformer"
    family: ClassVar[Literal["patch", "grid", "region"]] = "patch"
    one_token: ClassVar[bool] = True
    kind: Literal["vision_transformer"]
    weights: str = Field(RANDOM, min_length=1)
    patch_size: PositiveInt
    position_grid: Size
    layers: PositiveInt = 12
    inner_width: PositiveInt = 768
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    width: PositiveInt = 512
    layer_norm_eps: PositiveFloat = 1e-5

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VisionTransformerSpec:
        check_heads(self.inner_width, self.heads, width_name="inner_width")
        return self

    @property
    def side_multiple(self) -> int:
        return self.patch_size

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_patches(height, width, self.patch_size)

    @property
    def patches(self) -> PatchSpec:
        """What makes its tokens."""
        return PatchSpec(
            kind="patch", patch_size=self.patch_size, width=self.inner_width, position_grid=self.position_grid
        )

    def tiny(self) -> VisionTransformerSpec:
        small = {"layers": 2, "inner_width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small | {"width": TINY_WIDTH})


class ClipResNetSpec(VisualSpec):
    """A ResNet with three stem convolutions, anti-aliased strides and attention pooling (CLIP, section 2.4).

    Args:
        blocks: bottlenecks of res2 to res5.
        position_grid: rows and columns of the learned positions; for any other grid they are interpolated bilinearly.
        heads: of the attention pooling.
        width: of the token that stands for the image.
    """

    implementation: ClassVar[str] = "vlbench.architectures.clip_resnet:ClipResNet"
    family: ClassVar[Literal["patch", "grid", "region"]] = "grid"
    one_token: ClassVar[bool] = True
    kind: Literal["clip_resnet"]
    weights: str = Field(RANDOM, min_length=1)
    blocks: tuple[PositiveInt, ...] = Field((3, 4, 6, 3), min_length=4, max_length=4)
    position_grid: Size = (7, 7)
    heads: PositiveInt = 32
    width: PositiveInt = 1024

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ClipResNetSpec:
        check_heads(CLIP_RESNET_CHANNELS, self.heads, width_name="backbone channels")
        return self

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where nothing is left of an image of this size."""
        check_side(height, width, least=CLIP_RESNET_STRIDE)

    def tiny(self) -> ClipResNetSpec:
        return self.model_copy(update={"blocks": (1, 1, 1, 1), "width": TINY_WIDTH})


class PatchSpec(VisualSpec):
    """Linear projection of patches with learned positions (ViT, section 3.1; ViLT, section 3.1).

    Args:
        patch_size: side of a patch, in pixels.
        width: of a token.
        position_grid: rows and columns of the learned positions; for any other grid they are interpolated bilinearly.
        align_corners: how the interpolation maps corners; true in ViLT.
        dropout: while training.
    """

    implementation: ClassVar[str] = "vlbench.architectures.patch:PatchEmbedder"
    family: ClassVar[Literal["patch", "grid", "region"]] = "patch"
    kind: Literal["patch"]
    weights: str = Field(RANDOM, min_length=1)
    patch_size: PositiveInt
    width: PositiveInt = 768
    position_grid: Size
    align_corners: bool = False
    dropout: Fraction = 0.0

    @property
    def side_multiple(self) -> int:
        return self.patch_size

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_patches(height, width, self.patch_size)

    def tiny(self) -> PatchSpec:
        return self.model_copy(update={"width": TINY_WIDTH})


class GridSpec(VisualSpec):
    """Feature-map pixels of a CNN (Pixel-BERT, section 3.2).

    Args:
        pool_size: side, and stride, of the max pooling over the feature map.
        projection_inputs: channels that the projection reads, by default those of the backbone; further ones are zero.
        width: of a token.
        sampled_pixels: how many random pixels are kept while they are sampled (section 3.3.3).
        sample: when they are sampled: while `training`, as Pixel-BERT does, or `always`.
    """

    implementation: ClassVar[str] = "vlbench.architectures.grid:GridEmbedder"
    family: ClassVar[Literal["patch", "grid", "region"]] = "grid"
    kind: Literal["grid"]
    weights: str = Field(RANDOM, min_length=1)
    backbone: ResNetSpec
    pool_size: PositiveInt = 2
    projection_inputs: PositiveInt | None = None
    width: PositiveInt = 768
    sampled_pixels: PositiveInt = 100
    sample: Literal["training", "always"] = "training"

    @model_validator(mode="after")
    def _projection_reads_all_channels(self) -> GridSpec:
        check_inputs("projection_inputs", self.projection_inputs, "backbone", self.backbone.channels)
        return self

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where nothing is left of an image of this size after pooling."""
        check_side(height, width, least=self.backbone.stride * (self.pool_size - 1) + 1)

    def without_sampling(self) -> GridSpec:
        return self.model_copy(update={"sample": "training"})

    def tiny(self) -> GridSpec:
        return self.model_copy(update={"backbone": self.backbone.tiny(), "width": TINY_WIDTH, "sampled_pixels": 3})


class RegionProjectionSpec(Part):
    """How a region's feature and its box become a token.

    Args:
        width: of a token.
        inputs: channels that the projection reads, by default those of the RoI head; further ones are zero.
        geometry: how many numbers describe the box: 0 none; 4 the corners; 5 also the area; 6 the corners, width and
            height; 7 all of these.
        combine: `sum_of_norms` (UNITER, section 3.1), `mean_of_norms` (LXMERT, section 2.1), `sum` (ViLBERT, section
            2.2) or `concatenation` before the projection (Oscar, section 3).
        segment: whether an embedding is added that marks a token as the image's.
        norm: whether a LayerNorm follows.
        whole_image: whether a token of the whole image comes first, the mean of the regions' features (ViLBERT, section
            2.2).
        unit_length: whether each token is scaled to length 1 (SCAN, section 3).
        dropout: while training.
    """

    width: PositiveInt = 768
    inputs: PositiveInt | None = None
    geometry: Literal[0, 4, 5, 6, 7] = 7
    combine: Literal["sum_of_norms", "mean_of_norms", "sum", "concatenation"] = "sum_of_norms"
    segment: bool = True
    norm: bool = True
    whole_image: bool = False
    unit_length: bool = False
    dropout: Fraction = 0.1
    layer_norm_eps: PositiveFloat = 1e-12

    def tiny(self) -> RegionProjectionSpec:
        return self.model_copy(update={"width": TINY_WIDTH})


class RegionSpec(VisualSpec):
    """Regions of a Faster R-CNN (UNITER, section 3.1), or boxes on a fixed grid (X-LXMERT, Cho et al. 2020).

    Args:
        engine: the library whose layers run the detector.
        backbone, fpn: give the feature maps; without an `fpn` there is one.
        rpn, nms: propose boxes and choose among them.
        grid_boxes: rows and columns of fixed boxes, in place of `rpn` and `nms`.
        roi_head: gives each box a feature and, for `nms`, class scores.
        projection: makes a region a token.
    """

    implementation: ClassVar[str] = "vlbench.architectures.region:RegionEmbedder"
    takes_images: ClassVar[bool] = True
    has_detector: ClassVar[bool] = True
    family: ClassVar[Literal["patch", "grid", "region"]] = "region"
    kind: Literal["region"]
    weights: str = Field(RANDOM, min_length=1)
    engine: Engine = "torchvision"
    backbone: ResNetSpec
    fpn: FeaturePyramidSpec | None = None
    rpn: RegionProposalSpec | None = None
    grid_boxes: Size | None = None
    roi_head: Annotated[C4HeadSpec | FpnHeadSpec, Field(discriminator="kind")]
    nms: RegionSelectionSpec | None = None
    projection: RegionProjectionSpec

    @property
    def width(self) -> int:
        return self.projection.width

    @property
    def projection_inputs(self) -> int:
        """Channels that the projection reads."""
        return self.projection.inputs or self.roi_head.channels

    @property
    def region_channels(self) -> tuple[int, ...]:
        return tuple(sorted({self.roi_head.channels, self.projection_inputs}))

    @property
    def feature_channels(self) -> int:
        """Channels of the feature maps."""
        return self.fpn.channels if self.fpn else self.backbone.channels

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image per cell of each feature map; a pyramid has one for every stage and one more."""
        if self.fpn is None:
            return (self.backbone.stride,)
        return tuple(4 * 2**level for level in range(len(self.backbone.blocks) + 1))

    @model_validator(mode="after")
    def _parts_fit(self) -> RegionSpec:
        stages = len(self.backbone.blocks)
        if not self.fpn and stages != 3:
            raise ValueError(f"backbone.blocks has {stages} stages; a C4 head needs res2 to res4, 3")
        if bool(self.fpn) != (self.roi_head.kind == "fpn"):
            raise ValueError("an fpn needs roi_head.kind fpn, and that head needs an fpn")
        check_inputs("projection.inputs", self.projection.inputs, "RoI head", self.roi_head.channels)
        if self.grid_boxes:
            if self.rpn or self.nms or self.fpn:
                raise ValueError("grid_boxes stand in place of rpn, nms and fpn; leave those out")
            return self
        self._check_proposals()
        return self

    def _check_proposals(self) -> None:
        if not self.rpn or not self.nms:
            raise ValueError(f"the key {'nms' if self.rpn else 'rpn'!r} is missing; only grid_boxes do without")
        if not self.roi_head.classes:
            raise ValueError("roi_head.classes is missing; nms needs class scores")
        if self.nms.regions > self.rpn.proposals:
            raise ValueError(f"nms.regions is {self.nms.regions}, more than rpn.proposals, {self.rpn.proposals}")
        if self.fpn and len(self.rpn.anchor_sizes) != len(self.strides):
            raise ValueError(
                f"rpn.anchor_sizes has {len(self.rpn.anchor_sizes)}; an fpn needs one a level, {len(self.strides)}"
            )

    def tiny(self) -> RegionSpec:
        parts = {
            name: part.tiny()
            for name in ("backbone", "fpn", "rpn", "roi_head", "nms", "projection")
            if (part := getattr(self, name))
        }
        if self.grid_boxes:
            parts["grid_boxes"] = (2, 3)
        return self.model_copy(update=parts)


VisualPart = Annotated[
    PatchSpec | GridSpec | RegionSpec | MeanFeatureSpec | VisionTransformerSpec | ClipResNetSpec,
    Field(discriminator="kind"),
]


def check_inputs(name: str, inputs: int | None, source: str, channels: int) -> None:
    """Raises ValueError where a projection reads fewer channels than its source has."""
    if inputs and inputs < channels:
        raise ValueError(f"{name} is {inputs}, but the {source} has {channels} channels")

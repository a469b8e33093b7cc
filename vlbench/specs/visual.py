"""Visual embedders except those of regions: they make a row of tokens, or one token of the whole image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vlbench.specs.base import (
    RANDOM,
    TINY_HEADS,
    TINY_WIDTH,
    Activation,
    VisualSpec,
    check_few_patches,
    check_heads,
    check_inputs,
    check_side,
)
from vlbench.specs.bounds import Amount, Epsilon, Fraction, Layers, PoolSize, Side, Size, Weights, Width
from vlbench.specs.detector import ResNetSpec
from vlbench.specs.region import RegionSpec
from vlbench.specs.timm import TimmSpec

CLIP_RESNET_STRIDE, CLIP_RESNET_CHANNELS = 32, 2048


class MeanFeatureSpec(VisualSpec):
    """The mean of a CNN's feature map, projected to a token of length 1 (VSE++, section 3.1)."""

    implementation: ClassVar[str] = "vlbench.architectures.grid:MeanFeatureEmbedder"
    family: ClassVar[Literal["patch", "grid", "region"]] = "grid"
    one_token: ClassVar[bool] = True
    kind: Literal["mean_feature"]
    weights: Weights = RANDOM
    backbone: ResNetSpec
    width: Width = 1024

    def tiny(self) -> MeanFeatureSpec:
        return self.model_copy(update={"backbone": self.backbone.tiny(), "width": TINY_WIDTH})


class VisionTransformerSpec(VisualSpec):
    """A transformer over patches; its projected class token stands for the image (CLIP, section 2.4).

    Args:
        patch_size: side of a patch, in pixels.
        position_grid: rows and columns of the learned positions; for any other grid they are interpolated bilinearly.
        layers, inner_width, heads, mlp_width: of the transformer.
        width: of the token that stands for the image.
        activation: `quick_gelu`, as in all of OpenAI's checkpoints, or `gelu`, as in most of OpenCLIP's.
    """

    implementation: ClassVar[str] = "vlbench.architectures.clip:VisionTransformer"
    family: ClassVar[Literal["patch", "grid", "region"]] = "patch"
    one_token: ClassVar[bool] = True
    kind: Literal["vision_transformer"]
    weights: Weights = RANDOM
    patch_size: Side
    position_grid: Size
    layers: Layers = 12
    inner_width: Width = 768
    heads: Width = 12
    mlp_width: Width = 3072
    width: Width = 512
    layer_norm_eps: Epsilon = 1e-5
    activation: Activation = "quick_gelu"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> VisionTransformerSpec:
        check_heads(self.inner_width, self.heads, width_name="inner_width")
        return self

    @property
    def side_multiple(self) -> int:
        return self.patch_size

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        self.patches.check_image(height, width)

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
    weights: Weights = RANDOM
    blocks: tuple[Layers, ...] = Field((3, 4, 6, 3), min_length=4, max_length=4)
    position_grid: Size = (7, 7)
    heads: Width = 32
    width: Width = 1024

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
    weights: Weights = RANDOM
    patch_size: Side
    width: Width = 768
    position_grid: Size
    align_corners: bool = False
    dropout: Fraction = 0.0

    @property
    def side_multiple(self) -> int:
        return self.patch_size

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_few_patches(height, width, self.patch_size)

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
    weights: Weights = RANDOM
    backbone: ResNetSpec
    pool_size: PoolSize = 2
    projection_inputs: Width | None = None
    width: Width = 768
    sampled_pixels: Amount = 100
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


VisualPart = Annotated[
    PatchSpec | GridSpec | RegionSpec | MeanFeatureSpec | VisionTransformerSpec | ClipResNetSpec | TimmSpec,
    Field(discriminator="kind"),
]

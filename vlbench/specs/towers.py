"""Visual embedders that give one token for the whole image."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import RANDOM, TINY_HEADS, TINY_WIDTH, Part, Size, check_heads, check_patches, check_side
from vlbench.specs.detector import ResNet

CLIP_RESNET_STRIDE, CLIP_RESNET_CHANNELS = 32, 2048


class MeanFeature(Part):
    """The mean of a CNN's feature map, projected to a token of length 1 (VSE++, section 3.1)."""

    family: ClassVar[str] = "grid"
    one_token: ClassVar[bool] = True
    kind: Literal["mean_feature"]
    weights: str = Field(RANDOM, min_length=1)
    backbone: ResNet
    width: PositiveInt = 1024

    def check_image(self, height: int, width: int) -> None:
        """A mean takes any feature map."""

    def tiny(self) -> MeanFeature:
        return self.model_copy(update={"backbone": self.backbone.tiny(), "width": TINY_WIDTH})


class VisionTransformer(Part):
    """A transformer over patches; its class token, projected, stands for the image (CLIP, section 2.4).

    `width` is of that token, `inner_width` of the layers.
    """

    family: ClassVar[str] = "patch"
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
    def _heads_divide_width(self) -> VisionTransformer:
        check_heads(self.inner_width, self.heads, width_name="inner_width")
        return self

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_patches(height, width, self.patch_size)

    def tiny(self) -> VisionTransformer:
        small = {"layers": 2, "inner_width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small | {"width": TINY_WIDTH})


class ClipResNet(Part):
    """A ResNet with three stem convolutions, anti-aliased strides and attention pooling (CLIP, section 2.4)."""

    family: ClassVar[str] = "grid"
    one_token: ClassVar[bool] = True
    kind: Literal["clip_resnet"]
    weights: str = Field(RANDOM, min_length=1)
    blocks: tuple[PositiveInt, ...] = Field((3, 4, 6, 3), min_length=4, max_length=4)
    position_grid: Size = (7, 7)
    heads: PositiveInt = 32
    width: PositiveInt = 1024

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ClipResNet:
        check_heads(CLIP_RESNET_CHANNELS, self.heads, width_name="backbone channels")
        return self

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where nothing is left of an image of this size."""
        check_side(height, width, least=CLIP_RESNET_STRIDE)

    def tiny(self) -> ClipResNet:
        return self.model_copy(update={"blocks": (1, 1, 1, 1), "width": TINY_WIDTH})

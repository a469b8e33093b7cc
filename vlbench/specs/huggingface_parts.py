"""What a model file says of a class of transformers, part by part."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from vlbench.specs.base import Part, Size, check_patches

Gives = Literal["answers", "words", "pairs", "matching", "ranking", "similarity"]
StageName = Annotated[str, Field(pattern=r"^(text|visual|interaction|head|visual\.[a-z_]+)$")]
Paths = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]


class TokenIds(Part):
    """The text that a transformers model reads.

    Args:
        vocabulary: word pieces of its embedding.
        positions: the longest text, in tokens; None where there is no bound.
        begin: id of the token before a text; None where there is none.
        end: id of the token behind it, by which some models find the end.
        padding: id behind that.
    """

    one_token: ClassVar[bool] = False
    vocabulary: PositiveInt
    positions: PositiveInt | None = None
    begin: Annotated[int, Field(ge=0)] | None = None
    end: Annotated[int, Field(ge=0)]
    padding: Annotated[int, Field(ge=0)] = 0


class PrecomputedRegions(Part):
    """Features of regions that a model reads in place of pixels: how many of an image, and the channels of each."""

    regions: PositiveInt = 36
    channels: PositiveInt = 2048


class ForeignVisual(Part):
    """What is known of how a class of transformers sees; its weights are the whole model's."""

    kind: Literal["transformers"] = "transformers"
    weights: Literal["random"] = "random"
    patch_size: PositiveInt

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_patches(height, width, self.patch_size)


class Arguments(Part):
    """What the model's forward pass calls its inputs; what stays None is not given to it.

    Masks are given where something is padded, a text's always where `mask_needed`. `boxes` are corners divided by the
    image's width and height.
    """

    ids: str = "input_ids"
    mask: str | None = None
    mask_needed: bool = False
    pixels: str | None = None
    pixel_mask: str | None = None
    features: str | None = None
    feature_mask: str | None = None
    boxes: str | None = None

    @model_validator(mode="after")
    def _one_kind_of_image(self) -> Arguments:
        if bool(self.pixels) == bool(self.features):
            raise ValueError("names both pixels and features, or neither; a model reads one of them")
        return self


class Small(Part):
    """What makes the model tiny: settings of its config, and its input."""

    config: dict[str, Any]
    image_size: Size
    text_tokens: PositiveInt = 20
    channels: PositiveInt | None = None


class TaskModel(Part):
    """Another class of transformers, for another task: what differs from the model file's own."""

    transformers: str
    config: dict[str, Any] = Field({})
    options: dict[str, Any] = Field({})
    output: str = "logits"
    gives: Gives
    stages: dict[StageName, Paths] = Field({})

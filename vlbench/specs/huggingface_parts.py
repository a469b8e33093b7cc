"""The parts of a model file for a class of transformers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from vlbench.specs.base import Spec
from vlbench.specs.bounds import Amount, Positions, Size, TextLength, TokenId, Vocabulary, Width

Gives = Literal["answers", "words", "pairs", "matching", "ranking", "similarity"]
StageName = Annotated[str, Field(pattern=r"^(text|visual|interaction|head|visual\.[a-z_]+)$")]
Paths = Annotated[
    tuple[str, ...], Field(min_length=1), BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
]


class TokenIds(Spec):
    """The text that a transformers model reads.

    Args:
        vocabulary: word pieces of its embedding.
        positions: the longest text, in tokens; None if there is no limit.
        begin: id of the token before a text; None if there is none.
        end: id of the token after it; some models find the end by it.
        padding: id of the tokens after that.
    """

    one_token: ClassVar[bool] = False
    vocabulary: Vocabulary
    positions: Positions | None = None
    begin: TokenId | None = None
    end: TokenId
    padding: TokenId = 0


class PrecomputedRegions(Spec):
    """Features of regions that a model reads in place of pixels: how many per image, and their channels."""

    regions: Amount = 36
    channels: Width = 2048


class Arguments(Spec):
    """The names of the forward pass's inputs; an input whose name is None is left out.

    A mask is given only if something is padded; that of a text always if `mask_needed`. `boxes` are corners divided by
    the image's width and height.
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


class Small(Spec):
    """The tiny model: settings of its config, and its input."""

    config: dict[str, Any]
    image_size: Size
    text_tokens: TextLength = 20
    channels: Width | None = None


class TaskModel(Spec):
    """The class of transformers for another task: what differs from the model file's own."""

    transformers: str
    config: dict[str, Any] = Field({})
    options: dict[str, Any] = Field({})
    output: str = "logits"
    gives: Gives
    stages: dict[StageName, Paths] = Field({})

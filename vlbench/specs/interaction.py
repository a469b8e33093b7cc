"""How text and image meet."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import TINY_HEADS, TINY_WIDTH, Fraction, Part, check_heads


class Transformer(Part):
    """What every interaction by transformer layers has; each says the width of its two streams."""

    dropout: Fraction = 0.1
    layer_norm_eps: PositiveFloat = 1e-12


class SingleStream(Transformer):
    """One transformer over text and image tokens (BERT for post-norm, ViT for pre-norm)."""

    kind: Literal["single_stream"]
    layers: PositiveInt = 12
    width: PositiveInt = 768
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    norm: Literal["pre", "post"]
    modal_types: bool = False

    @property
    def stream_widths(self) -> tuple[int, int]:
        """Of text and image tokens."""
        return self.width, self.width

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SingleStream:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> SingleStream:
        small = {"layers": 2, "width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small)


class CoAttention(Transformer):
    """Two streams whose last layers have connections, in which each attends to the other (ViLBERT, section 2)."""

    kind: Literal["co_attention"]
    text_layers: PositiveInt = 12
    image_layers: PositiveInt = 6
    connections: PositiveInt = 6
    text_width: PositiveInt = 768
    image_width: PositiveInt = 1024
    connection_width: PositiveInt = 1024
    text_heads: PositiveInt = 12
    image_heads: PositiveInt = 8
    connection_heads: PositiveInt = 8
    text_mlp_width: PositiveInt = 3072
    image_mlp_width: PositiveInt = 1024

    @property
    def stream_widths(self) -> tuple[int, int]:
        return self.text_width, self.image_width

    @model_validator(mode="after")
    def _parts_fit(self) -> CoAttention:
        for of in ("text", "image", "connection"):
            check_heads(getattr(self, f"{of}_width"), getattr(self, f"{of}_heads"), of=f"{of}_")
        fewest = min(self.text_layers, self.image_layers)
        if self.connections > fewest:
            raise ValueError(f"connections is {self.connections}, but a stream has only {fewest} layers")
        return self

    def tiny(self) -> CoAttention:
        small = {"text_layers": 3, "image_layers": 2, "connections": 2, "connection_width": 2 * TINY_WIDTH}
        small |= {f"{of}_width": TINY_WIDTH for of in ("text", "image")}
        small |= {f"{of}_heads": TINY_HEADS for of in ("text", "image", "connection")}
        return self.model_copy(update=small | {"text_mlp_width": 2 * TINY_WIDTH, "image_mlp_width": TINY_WIDTH})


class CrossModality(Transformer):
    """A stream of each modality, then layers that join them (LXMERT, section 2.2).

    `cross` is `attention`, LXMERT's: one cross-attention shared by both directions, then each stream's own layer. With
    `joint` each stream's own layer attends to the tokens of both at once, without a cross-attention.
    """

    kind: Literal["cross_modality"]
    text_layers: PositiveInt = 9
    image_layers: PositiveInt = 5
    cross_layers: PositiveInt = 5
    cross: Literal["attention", "joint"] = "attention"
    width: PositiveInt = 768
    heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072

    @property
    def stream_widths(self) -> tuple[int, int]:
        return self.width, self.width

    @model_validator(mode="after")
    def _heads_divide_width(self) -> CrossModality:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> CrossModality:
        small = {"text_layers": 2, "image_layers": 1, "cross_layers": 1}
        small |= {"width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small)


InteractionPart = Annotated[SingleStream | CoAttention | CrossModality, Field(discriminator="kind")]

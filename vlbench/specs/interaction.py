"""Interactions of text and image."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vlbench.specs.base import TINY_HEADS, TINY_WIDTH, Spec, check_heads
from vlbench.specs.bounds import Epsilon, Factor, Fraction, Layers, Width


class TransformerSpec(Spec):
    """An interaction by transformer layers; `stream_widths` are those of its text and image tokens.

    Args:
        dropout: while training.
        layer_norm_eps: of every LayerNorm.
    """

    scores: ClassVar[bool] = False
    dropout: Fraction = 0.1
    layer_norm_eps: Epsilon = 1e-12


class SingleStreamSpec(TransformerSpec):
    """One transformer over text and image tokens.

    Args:
        layers, width, heads, mlp_width: of the transformer.
        norm: `pre`, with a last LayerNorm, as ViT; `post`, as BERT.
        modal_types: whether an embedding of its modality is added to each token (ViLT).
    """

    implementation: ClassVar[str] = "vlbench.architectures.interaction:SingleStream"
    takes_images: ClassVar[bool] = True
    kind: Literal["single_stream"]
    layers: Layers = 12
    width: Width = 768
    heads: Width = 12
    mlp_width: Width = 3072
    norm: Literal["pre", "post"]
    modal_types: bool = False

    @property
    def stream_widths(self) -> tuple[int, int]:
        """Of text and image tokens."""
        return self.width, self.width

    @model_validator(mode="after")
    def _heads_divide_width(self) -> SingleStreamSpec:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> SingleStreamSpec:
        small = {"layers": 2, "width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small)


class CoAttentionSpec(TransformerSpec):
    """Two BERT-like streams; in connections before their last layers each attends to the other (ViLBERT, section 2).

    Args:
        text_layers, text_width, text_heads, text_mlp_width: of the text stream; the image stream has the same.
        connections: how many; at most as many as the shorter stream has layers.
        connection_width, connection_heads: of queries, keys and values in a connection.
    """

    implementation: ClassVar[str] = "vlbench.architectures.dual_stream:CoAttention"
    kind: Literal["co_attention"]
    text_layers: Layers = 12
    image_layers: Layers = 6
    connections: Layers = 6
    text_width: Width = 768
    image_width: Width = 1024
    connection_width: Width = 1024
    text_heads: Width = 12
    image_heads: Width = 8
    connection_heads: Width = 8
    text_mlp_width: Width = 3072
    image_mlp_width: Width = 1024

    @property
    def stream_widths(self) -> tuple[int, int]:
        return self.text_width, self.image_width

    @model_validator(mode="after")
    def _parts_fit(self) -> CoAttentionSpec:
        for of in ("text", "image", "connection"):
            check_heads(getattr(self, f"{of}_width"), getattr(self, f"{of}_heads"), of=f"{of}_")
        fewest = min(self.text_layers, self.image_layers)
        if self.connections > fewest:
            raise ValueError(f"connections is {self.connections}, but a stream has only {fewest} layers")
        return self

    def tiny(self) -> CoAttentionSpec:
        small = {"text_layers": 3, "image_layers": 2, "connections": 2, "connection_width": 2 * TINY_WIDTH}
        small |= {f"{of}_width": TINY_WIDTH for of in ("text", "image")}
        small |= {f"{of}_heads": TINY_HEADS for of in ("text", "image", "connection")}
        return self.model_copy(update=small | {"text_mlp_width": 2 * TINY_WIDTH, "image_mlp_width": TINY_WIDTH})


class CrossModalitySpec(TransformerSpec):
    """A stream of each modality, then layers that join them (LXMERT, section 2.2).

    Args:
        text_layers, image_layers: of the two streams.
        cross_layers: that join them.
        cross: `attention`, as LXMERT: one cross-attention shared by both directions, then a layer of each stream.
            `joint`: a layer of each stream that attends to the tokens of both, without a cross-attention.
        width, heads, mlp_width: of every layer.
    """

    implementation: ClassVar[str] = "vlbench.architectures.dual_stream:CrossModality"
    kind: Literal["cross_modality"]
    text_layers: Layers = 9
    image_layers: Layers = 5
    cross_layers: Layers = 5
    cross: Literal["attention", "joint"] = "attention"
    width: Width = 768
    heads: Width = 12
    mlp_width: Width = 3072

    @property
    def stream_widths(self) -> tuple[int, int]:
        return self.width, self.width

    @model_validator(mode="after")
    def _heads_divide_width(self) -> CrossModalitySpec:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> CrossModalitySpec:
        small = {"text_layers": 2, "image_layers": 1, "cross_layers": 1}
        small |= {"width": TINY_WIDTH, "heads": TINY_HEADS, "mlp_width": 2 * TINY_WIDTH}
        return self.model_copy(update=small)


class DotProductSpec(Spec):
    """The cosine of one token of each modality (VSE++, section 3.1; CLIP, section 2.3).

    Args:
        logit_scale: initial factor of the cosine, whose logarithm is learned; None: the cosine itself is the score.
    """

    implementation: ClassVar[str] = "vlbench.architectures.interaction:DotProduct"
    scores: ClassVar[bool] = True
    kind: Literal["dot_product"]
    logit_scale: Factor | None = None


class StackedCrossAttentionSpec(Spec):
    """Words attend to regions, or regions to words, and are compared with what they attended to (SCAN, section 3.1).

    Args:
        directions: `text_image`, in which words attend to regions, `image_text`, or both; the score is their mean.
        text_image_temperature, image_text_temperature: inverse temperature of the attention.
        pooling: of the relevance of all queries: `lse`, LogSumExp (equation 5), or `mean` (equation 6).
        text_image_lse, image_text_lse: factor within LogSumExp; a larger one favours the most relevant query.
    """

    implementation: ClassVar[str] = "vlbench.architectures.interaction:StackedCrossAttention"
    scores: ClassVar[bool] = True
    kind: Literal["stacked_cross_attention"]
    directions: tuple[Literal["text_image", "image_text"], ...] = Field(("text_image", "image_text"), min_length=1)
    text_image_temperature: Factor = 9.0
    image_text_temperature: Factor = 4.0
    pooling: Literal["lse", "mean"] = "lse"
    text_image_lse: Factor = 6.0
    image_text_lse: Factor = 5.0

    @model_validator(mode="after")
    def _directions_differ(self) -> StackedCrossAttentionSpec:
        if len(set(self.directions)) < len(self.directions):
            raise ValueError("directions names one twice")
        return self


InteractionPart = Annotated[
    SingleStreamSpec | CoAttentionSpec | CrossModalitySpec | DotProductSpec | StackedCrossAttentionSpec,
    Field(discriminator="kind"),
]

"""Text embedders."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from vlbench.specs.base import TINY_HEADS, TINY_VOCABULARY, TINY_WIDTH, Activation, Spec, check_heads
from vlbench.specs.bounds import CausalPositions, Epsilon, Fraction, Layers, Positions, Vocabulary, Width


class TextSpec(Spec):
    """A text embedder.

    Class attributes:
        begin, end, padding: ids of the tokens before and after a text, and of its padding, as in BERT's vocabulary.
    """

    begin: ClassVar[int] = 101
    end: ClassVar[int] = 102
    padding: ClassVar[int] = 0


class BertEmbeddingsSpec(TextSpec):
    """Word, position and segment embeddings with a LayerNorm (BERT, section 3).

    Args:
        vocabulary: word pieces in it.
        positions: the longest text, in tokens.
        segments: rows of the segment table; every token of a text uses the first.
        width: of a token.
        dropout: while training.
    """

    implementation: ClassVar[str] = "vlbench.architectures.text:BertEmbeddings"
    one_token: ClassVar[bool] = False
    kind: Literal["bert_embeddings"]
    vocabulary: Vocabulary = 30522
    positions: Positions = 512
    segments: Width = 2
    width: Width = 768
    dropout: Fraction = 0.1
    layer_norm_eps: Epsilon = 1e-12

    def tiny(self) -> BertEmbeddingsSpec:
        return self.model_copy(update={"width": TINY_WIDTH, "vocabulary": TINY_VOCABULARY})


class GruSpec(TextSpec):
    """Word embeddings read by a GRU; tokens of length 1 (VSE++, section 3.1; SCAN, section 3).

    Args:
        vocabulary: words in it.
        word_width: of a word's embedding.
        width: of a state, and so of a token.
        bidirectional: whether a token is the mean of the states of both directions.
        output: `last`, the state after the last word, a single token; `words`, the state at each word.
    """

    implementation: ClassVar[str] = "vlbench.architectures.text:Gru"
    positions: ClassVar[int | None] = None  # it reads texts of any length
    kind: Literal["gru"]
    vocabulary: Vocabulary = 30522
    word_width: Width = 300
    width: Width = 1024
    bidirectional: bool = False
    output: Literal["last", "words"] = "last"

    @property
    def one_token(self) -> bool:
        """Whether the text becomes a single token."""
        return self.output == "last"

    @model_validator(mode="after")
    def _directions_end_at_the_same_word(self) -> GruSpec:
        if self.bidirectional and self.output == "last":
            raise ValueError("bidirectional needs output words; read backwards a text ends at its first word")
        return self

    def tiny(self) -> GruSpec:
        return self.model_copy(update={"word_width": 16, "width": TINY_WIDTH, "vocabulary": TINY_VOCABULARY})


class TextTransformerSpec(TextSpec):
    """A causal transformer; the projected state at the last token stands for the text (CLIP, section 2.4).

    Args:
        vocabulary: word pieces in it.
        positions: the longest text, in tokens.
        layers, inner_width, heads, mlp_width: of the transformer.
        width: of the token that stands for the text.
        activation: `quick_gelu`, as in all of OpenAI's checkpoints, or `gelu`, as in most of OpenCLIP's.
    """

    implementation: ClassVar[str] = "vlbench.architectures.clip:TextTransformer"
    one_token: ClassVar[bool] = True
    kind: Literal["text_transformer"]
    vocabulary: Vocabulary = 49408
    positions: CausalPositions = 77
    layers: Layers = 12
    inner_width: Width = 512
    heads: Width = 8
    mlp_width: Width = 2048
    width: Width = 512
    layer_norm_eps: Epsilon = 1e-5
    activation: Activation = "quick_gelu"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> TextTransformerSpec:
        check_heads(self.inner_width, self.heads, width_name="inner_width")
        return self

    def tiny(self) -> TextTransformerSpec:
        small = {"vocabulary": TINY_VOCABULARY, "layers": 2, "inner_width": TINY_WIDTH, "heads": TINY_HEADS}
        return self.model_copy(update=small | {"mlp_width": 2 * TINY_WIDTH, "width": TINY_WIDTH})


TextPart = Annotated[BertEmbeddingsSpec | GruSpec | TextTransformerSpec, Field(discriminator="kind")]

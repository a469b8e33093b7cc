"""Text embedders."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from vlbench.specs.base import TINY_VOCABULARY, TINY_WIDTH, Fraction, Part


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


TextPart = BertEmbeddings

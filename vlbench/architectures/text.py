"""Text embedders."""

from __future__ import annotations

from torch import nn

from vlbench.architectures.tokens import Text, Tokens


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised (BERT, section 3).

    Args:
        vocabulary: WordPieces in the vocabulary.
        positions: the longest text, in tokens.
        segments: rows of the segment table; every token is of segment 0.
        width: D.
        dropout: while training.
        layer_norm_eps: 1e-12 in BERT.
    """

    def __init__(
        self, *, vocabulary: int, positions: int, segments: int, width: int, dropout: float, layer_norm_eps: float
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions, width)
        self.segments = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, text: Text) -> Tokens:
        length = text.ids.shape[1]
        embedded = self.words(text.ids) + self.positions.weight[:length] + self.segments.weight[0]
        return Tokens(values=self.dropout(self.norm(embedded)), mask=text.mask)

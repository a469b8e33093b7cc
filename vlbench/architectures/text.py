"""Text embedders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import Text, Tokens, last_real


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


class Gru(nn.Module):
    """Word embeddings read by a GRU, its states scaled to length 1 (VSE++, section 3.1; SCAN, section 3).

    The padding comes after the words, so it reaches no state of theirs; to be read backwards the words of each text are
    put in reverse and the padding stays where it is. So nothing waits for the device to know how long a text is.

    Args:
        vocabulary: words in the vocabulary.
        word_width: of a word's embedding.
        width: D, of the state.
        bidirectional: the mean of both directions at each word.
        output: `last`, the state after the last real word, one token; `words`, the state at each.
    """

    def __init__(self, *, vocabulary: int, word_width: int, width: int, bidirectional: bool, output: str) -> None:
        super().__init__()
        self.output = output
        self.words = nn.Embedding(vocabulary, word_width)
        self.forwards = nn.GRU(word_width, width, batch_first=True)
        self.backwards = nn.GRU(word_width, width, batch_first=True) if bidirectional else None

    def forward(self, text: Text) -> Tokens:
        words_BLE = self.words(text.ids)
        states_BLD = self.forwards(words_BLE)[0]
        if self.backwards is not None:
            reverse_BL = word_reversal(text)
            states_BLD = (states_BLD + reordered(self.backwards(reordered(words_BLE, reverse_BL))[0], reverse_BL)) / 2
        tokens = Tokens(values=states_BLD, mask=text.mask)
        if self.output == "last":
            tokens = last_real(tokens)
        return Tokens(values=F.normalize(tokens.values, dim=2), mask=tokens.mask)

    def initialise_random(self, generator: torch.Generator) -> None:
        """Words of unit scale, and gates that keep it."""
        self.words.weight.normal_(0, 1, generator=generator)
        for network in filter(None, (self.forwards, self.backwards)):
            for parameter in network.parameters():
                if parameter.dim() == 1:
                    parameter.zero_()
                else:
                    parameter.normal_(0, parameter.shape[1] ** -0.5, generator=generator)


def word_reversal(text: Text) -> Tensor:
    """For each place the place from which its token comes when the real ones are reversed, (B, L); its own inverse."""
    places_1L = torch.arange(text.ids.shape[1], device=text.ids.device)[None]
    if text.mask is None:
        return places_1L.flip(1).expand(len(text.ids), -1)
    mirrored_BL = text.mask.sum(dim=1, keepdim=True) - 1 - places_1L
    return torch.where(mirrored_BL >= 0, mirrored_BL, places_1L)


def reordered(values_BLD: Tensor, places_BL: Tensor) -> Tensor:
    """Each text's tokens as `places_BL` orders them, (B, L, D)."""
    return values_BLD.gather(1, places_BL[:, :, None].expand(-1, -1, values_BLD.shape[2]))

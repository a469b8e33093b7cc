"""Text embedders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import Text, Tokens, last_real
from vlbench.specs import BertEmbeddingsSpec, GruSpec


class BertEmbeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised (BERT, section 3)."""

    def __init__(self, spec: BertEmbeddingsSpec) -> None:
        super().__init__()
        self.words = nn.Embedding(spec.vocabulary, spec.width)
        self.positions = nn.Embedding(spec.positions, spec.width)
        self.segments = nn.Embedding(spec.segments, spec.width)
        self.norm = nn.LayerNorm(spec.width, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, text: Text) -> Tokens:
        length = text.ids.shape[1]
        embedded = self.words(text.ids) + self.positions.weight[:length] + self.segments.weight[0]
        return Tokens(values=self.dropout(self.norm(embedded)), mask=text.mask)


class Gru(nn.Module):
    """Word embeddings read by a GRU, its states scaled to length 1 (VSE++, section 3.1; SCAN, section 3).

    Padding comes after the words, so it does not reach their states. For the backward direction the words of each text
    are reversed and the padding stays in place, so that the host never waits for the device to learn a text's length.
    """

    def __init__(self, spec: GruSpec) -> None:
        super().__init__()
        self.output = spec.output
        self.words = nn.Embedding(spec.vocabulary, spec.word_width)
        self.forwards = nn.GRU(spec.word_width, spec.width, batch_first=True)
        self.backwards = nn.GRU(spec.word_width, spec.width, batch_first=True) if spec.bidirectional else None

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
    """Indices that reverse the real tokens of each text and leave its padding, (B, L); the permutation is its own
    inverse."""
    index_1L = torch.arange(text.ids.shape[1], device=text.ids.device)[None]
    if text.mask is None:
        return index_1L.flip(1).expand(text.ids.shape[0], -1)
    mirrored_BL = text.mask.sum(dim=1, keepdim=True) - 1 - index_1L
    return torch.where(mirrored_BL >= 0, mirrored_BL, index_1L)


def reordered(values_BLD: Tensor, index_BL: Tensor) -> Tensor:
    """The tokens of each text in the order of `index_BL`, (B, L, D)."""
    return values_BLD.gather(1, index_BL[:, :, None].expand(-1, -1, values_BLD.shape[2]))

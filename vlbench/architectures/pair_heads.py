"""Heads that decide whether a text is true of two images (NLVR2, Suhr et al. 2019).

The images of a batch alternate, left and right. Most heads read 2B sequences, the text with either image, of which rows
2i and 2i + 1 belong together; `TogetherPair` reads B sequences, the text with both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.blocks import CrossAttention, attention_bias
from vlbench.architectures.heads import PooledLinear, Pooler, TwoLayers
from vlbench.architectures.interfaces import Head, Joint, Tokens, join
from vlbench.specs import AttentivePairSpec, LinearPairSpec, PairClassifierSpec, TogetherPairSpec


class PairClassifier(TwoLayers):
    """Logits of "false" and "true": both pooled tokens through an MLP (ViLT and LXMERT, section 4.2). (B, 2)"""

    def __init__(self, spec: PairClassifierSpec) -> None:
        width = 2 * spec.width
        super().__init__(
            spec, inputs=width, hidden=width, outputs=2, norm=spec.norm, layer_norm_eps=spec.layer_norm_eps
        )
        self.pooler = Pooler(width=spec.width)

    def forward(self, joint: Joint) -> Tensor:
        return self.classify(side_by_side(self.pooler(joint.text or joint.image)))


class LinearPair(Head):
    """Logits of "false" and "true": both pooled tokens through one layer (UNITER, section 4, "Pair"). (B, 2)"""

    def __init__(self, spec: LinearPairSpec) -> None:
        super().__init__(spec)
        self.pooler = Pooler(width=spec.width)
        self.classifier = nn.Linear(2 * spec.width, 2)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(side_by_side(self.pooler(joint.text or joint.image)))


class AttentivePair(Head):
    """Logits of "false" and "true" after each sequence attended to the other (UNITER, section 4, "Pair-biattn").
    (B, 2)"""

    def __init__(self, spec: AttentivePairSpec) -> None:
        super().__init__(spec)
        width = spec.width
        self.left, self.right = (
            CrossAttention(width=width, source_width=width, inner_width=width, heads=spec.heads, dropout=spec.dropout)
            for _ in range(2)
        )
        self.merge = nn.Linear(2 * width, width)
        self.score = nn.Linear(width, 1)
        self.classifier = nn.Linear(2 * width, 2)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, joint: Joint) -> Tensor:
        both = join(joint.text, joint.image)
        left, right = (_every_other(both, first) for first in (0, 1))
        pooled = [self._pooled(self.left, left, right), self._pooled(self.right, right, left)]
        return self.classifier(torch.cat(pooled, dim=1))

    def _pooled(self, attention: CrossAttention, tokens: Tokens, other: Tokens) -> Tensor:
        """One sequence as a single feature, (B, D)."""
        attended_BLD = attention(tokens.values, other.values, attention_bias(other.mask, other.values.dtype))
        merged_BLD = self.dropout(F.relu(self.merge(torch.cat((attended_BLD, tokens.values), dim=2))))
        scores_BL = F.relu(self.score(merged_BLD)).squeeze(2)
        if tokens.mask is not None:
            scores_BL = scores_BL.masked_fill(~tokens.mask, float("-inf"))
        weights_BL = self.dropout(scores_BL.softmax(dim=1))
        return torch.bmm(weights_BL[:, None], merged_BLD)[:, 0]


class TogetherPair(PooledLinear):
    """Logits of "false" and "true" from one sequence of text and both images (UNITER, section 4, "Triplet"). (B, 2)"""

    def __init__(self, spec: TogetherPairSpec) -> None:
        super().__init__(spec, outputs=2)


def side_by_side(pooled_ED: Tensor) -> Tensor:
    """Left and right of each pair in one row, (B, 2D) from (2B, D)."""
    return pooled_ED.unflatten(0, (-1, 2)).flatten(1)


def _every_other(tokens: Tokens, first: int) -> Tokens:
    return Tokens(values=tokens.values[first::2], mask=None if tokens.mask is None else tokens.mask[first::2])

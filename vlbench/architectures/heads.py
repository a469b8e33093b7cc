"""Heads: joint tokens to logits or features.

Heads of pairs decide whether a text is true of two images (NLVR2, Suhr et al. 2019). The images of a batch
alternate, left and right. Most of these heads read 2B sequences, the text with either image, of which rows 2i and
2i + 1 belong together; `TogetherPair` reads B sequences, the text with both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.blocks import CrossAttention, attention_bias
from vlbench.architectures.interfaces import Head, Joint, Tokens, join, last_word, mean_of_real
from vlbench.specs import (
    AttentivePairSpec,
    ImageTextMatchingSpec,
    LinearAnswersSpec,
    LinearPairSpec,
    PairClassifierSpec,
    PooledFeatureSpec,
    PooledProductSpec,
    ProductAnswersSpec,
    RankingSpec,
    TogetherPairSpec,
    VisualQuestionAnsweringSpec,
)
from vlbench.specs.heads import HeadSpec, TextHeadSpec


class PooledFeature(Head):
    """The image's feature (ViT, section 3.1; mean pooling: appendix D.3). (B, D)"""

    gives = "features"

    def __init__(self, spec: PooledFeatureSpec) -> None:
        super().__init__(spec)
        self.pooling = spec.pooling

    def forward(self, joint: Joint) -> Tensor:
        if self.pooling == "cls":
            return joint.image.values[:, 0]
        mask = joint.image.mask
        others = Tokens(values=joint.image.values[:, 1:], mask=None if mask is None else mask[:, 1:])
        return mean_of_real(others)


class Pooler(nn.Module):
    """The first token through a linear layer and tanh (BERT). (B, D)"""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, tokens: Tokens) -> Tensor:
        return torch.tanh(self.dense(tokens.values[:, 0]))


class PooledLinear(Head):
    """The pooled first token through one linear layer. (B, outputs)"""

    def __init__(self, spec: TextHeadSpec, *, outputs: int) -> None:
        super().__init__(spec)
        self.pooler = Pooler(width=spec.width)
        self.classifier = nn.Linear(spec.width, outputs)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(self.pooler(joint.text or joint.image))


class ImageTextMatching(PooledLinear):
    """Logits of "does not match" and "matches" (UNITER, section 3.2; ViLT, section 3.2). (B, 2)"""

    def __init__(self, spec: ImageTextMatchingSpec) -> None:
        super().__init__(spec, outputs=2)


class Ranking(PooledLinear):
    """How well text and image fit, as one logit (UNITER, section 4; ViLT, section 4.2). (B, 1)"""

    def __init__(self, spec: RankingSpec) -> None:
        super().__init__(spec, outputs=1)


class PooledProduct(Head):
    """Logits of "does not match" and "matches" from two streams (ViLBERT, section 2.2). (B, 2)

    Each stream is pooled from its first token: a text's [CLS], and a token of the whole image.
    """

    def __init__(self, spec: PooledProductSpec) -> None:
        super().__init__(spec)
        self.text = nn.Linear(spec.text_width, spec.width)
        self.image = nn.Linear(spec.image_width, spec.width)
        self.classifier = nn.Linear(spec.width, 2)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(product(self.text, self.image, joint))


class TwoLayers(Head):
    """An MLP whose LayerNorm comes `before_gelu` or `after_gelu`."""

    def __init__(
        self, spec: HeadSpec, *, inputs: int, hidden: int, outputs: int, norm: str, layer_norm_eps: float
    ) -> None:
        super().__init__(spec)
        self.norm_first = norm == "before_gelu"
        self.expand = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden, eps=layer_norm_eps)
        self.classifier = nn.Linear(hidden, outputs)

    def classify(self, values: Tensor) -> Tensor:
        hidden = self.expand(values)
        return self.classifier(F.gelu(self.norm(hidden)) if self.norm_first else self.norm(F.gelu(hidden)))


class VisualQuestionAnswering(TwoLayers):
    """Logits of the answers from a two-layer MLP of twice the width (ViLT, section 4.2). (B, answers)"""

    def __init__(self, spec: VisualQuestionAnsweringSpec) -> None:
        super().__init__(
            spec,
            inputs=spec.width,
            hidden=2 * spec.width,
            outputs=spec.answers,
            norm=spec.norm,
            layer_norm_eps=spec.layer_norm_eps,
        )
        self.pooler = Pooler(width=spec.width)

    def forward(self, joint: Joint) -> Tensor:
        return self.classify(self.pooler(joint.text or joint.image))


class LinearAnswers(Head):
    """Logits of the answers from one linear layer (Oscar, section 4; VisualBERT, section 4.1). (B, answers)"""

    def __init__(self, spec: LinearAnswersSpec) -> None:
        super().__init__(spec)
        self.pooler = Pooler(width=spec.width) if spec.reads == "pooled" else None
        self.classifier = nn.Linear(spec.width, spec.answers)

    def forward(self, joint: Joint) -> Tensor:
        tokens = joint.text or joint.image
        return self.classifier(self.pooler(tokens) if self.pooler is not None else last_word(tokens))


class ProductAnswers(TwoLayers):
    """Logits of the answers from the product of two streams (ViLBERT, section 3.2). (B, answers)"""

    def __init__(self, spec: ProductAnswersSpec) -> None:
        super().__init__(
            spec,
            inputs=spec.width,
            hidden=2 * spec.width,
            outputs=spec.answers,
            norm="after_gelu",
            layer_norm_eps=spec.layer_norm_eps,
        )
        self.text = nn.Linear(spec.text_width, spec.width)
        self.image = nn.Linear(spec.image_width, spec.width)

    def forward(self, joint: Joint) -> Tensor:
        return self.classify(product(self.text, self.image, joint))


def product(text_layer: nn.Linear, image_layer: nn.Linear, joint: Joint) -> Tensor:
    """The product of both streams' first tokens, each behind its layer and ReLU. (B, D)"""
    if joint.text is None:
        raise ValueError("a product of text and image needs text")
    text = F.relu(text_layer(joint.text.values[:, 0]))
    return text * F.relu(image_layer(joint.image.values[:, 0]))


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

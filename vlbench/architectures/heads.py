"""What is asked of the joint tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import Joint, Tokens, last_word, mean_of_real


class PooledFeature(nn.Module):
    """The image's feature (ViT, section 3.1; mean pooling: appendix D.3). (B, D)

    Args:
        pooling: `cls`, the first image token; `mean`, the mean of the real others.
    """

    def __init__(self, *, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling

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


class ImageTextMatching(nn.Module):
    """Logits of "does not match" and "matches" (UNITER, section 3.2; ViLT, section 3.2). (B, 2)"""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.pooler = Pooler(width=width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(self.pooler(joint.text or joint.image))


class PooledProduct(nn.Module):
    """Logits of "does not match" and "matches" from two streams (ViLBERT, section 2.2). (B, 2)

    Each stream is pooled from its first token, a text's [CLS] and a token of the whole image.
    """

    def __init__(self, *, text_width: int, image_width: int, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, width)
        self.image = nn.Linear(image_width, width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(product(self.text, self.image, joint))


class Ranking(nn.Module):
    """How well text and image fit, as one logit (UNITER, section 4; ViLT, section 4.2). (B, 1)"""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.pooler = Pooler(width=width)
        self.classifier = nn.Linear(width, 1)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(self.pooler(joint.text or joint.image))


class TwoLayers(nn.Module):
    """An MLP with a LayerNorm, which comes `before_gelu` or `after_gelu`."""

    def __init__(self, *, inputs: int, hidden: int, outputs: int, norm: str, layer_norm_eps: float) -> None:
        super().__init__()
        self.norm_first = norm == "before_gelu"
        self.expand = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden, eps=layer_norm_eps)
        self.classifier = nn.Linear(hidden, outputs)

    def classify(self, values: Tensor) -> Tensor:
        hidden = self.expand(values)
        return self.classifier(F.gelu(self.norm(hidden)) if self.norm_first else self.norm(F.gelu(hidden)))


class VisualQuestionAnswering(TwoLayers):
    """Logits of the answers, a two-layer MLP of twice the width (ViLT, section 4.2). (B, answers)"""

    def __init__(self, *, width: int, answers: int, layer_norm_eps: float, norm: str = "before_gelu") -> None:
        super().__init__(inputs=width, hidden=2 * width, outputs=answers, norm=norm, layer_norm_eps=layer_norm_eps)
        self.pooler = Pooler(width=width)

    def forward(self, joint: Joint) -> Tensor:
        return self.classify(self.pooler(joint.text or joint.image))


class LinearAnswers(nn.Module):
    """Logits of the answers, one linear layer (Oscar, section 4; VisualBERT, section 4.1). (B, answers)

    Args:
        width: D.
        answers: to choose from.
        reads: `pooled`, the pooled first token; `last_word`, the word before the text's last token, [SEP].
    """

    def __init__(self, *, width: int, answers: int, reads: str) -> None:
        super().__init__()
        self.pooler = Pooler(width=width) if reads == "pooled" else None
        self.classifier = nn.Linear(width, answers)

    def forward(self, joint: Joint) -> Tensor:
        tokens = joint.text or joint.image
        return self.classifier(self.pooler(tokens) if self.pooler is not None else last_word(tokens))


class ProductAnswers(TwoLayers):
    """Logits of the answers from the product of two streams (ViLBERT, section 3.2). (B, answers)"""

    def __init__(self, *, text_width: int, image_width: int, width: int, answers: int, layer_norm_eps: float) -> None:
        hidden = 2 * width
        super().__init__(inputs=width, hidden=hidden, outputs=answers, norm="after_gelu", layer_norm_eps=layer_norm_eps)
        self.text = nn.Linear(text_width, width)
        self.image = nn.Linear(image_width, width)

    def forward(self, joint: Joint) -> Tensor:
        return self.classify(product(self.text, self.image, joint))


def product(text_layer: nn.Linear, image_layer: nn.Linear, joint: Joint) -> Tensor:
    """First token of each stream through its layer and ReLU, multiplied. (B, D)"""
    if joint.text is None:
        raise ValueError("a product of text and image needs text")
    text = F.relu(text_layer(joint.text.values[:, 0]))
    return text * F.relu(image_layer(joint.image.values[:, 0]))

"""What is asked of the joint tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.tokens import Joint, Tokens, mean_of_real


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
        if joint.text is None:
            raise ValueError("a product of text and image needs text")
        text = F.relu(self.text(joint.text.values[:, 0]))
        return self.classifier(text * F.relu(self.image(joint.image.values[:, 0])))


class VisualQuestionAnswering(nn.Module):
    """Logits of the answers, a two-layer MLP of twice the width (ViLT, section 4.2). (B, answers)"""

    def __init__(self, *, width: int, answers: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.pooler = Pooler(width=width)
        self.expand = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(2 * width, eps=layer_norm_eps)
        self.classifier = nn.Linear(2 * width, answers)

    def forward(self, joint: Joint) -> Tensor:
        return self.classifier(F.gelu(self.norm(self.expand(self.pooler(joint.text or joint.image)))))

"""What is asked of joint tokens in training, beside a model's own head; each answers for the hidden places alone.

Made anew for a training run, they want `initialise_random(heads, seed)` of `vlbench.architectures.initialise`.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import Joint, RegionFeatures
from vlbench.architectures.region import RegionProjection, Regions
from vlbench.training.losses import with_masked_regions

Found = TypeVar("Found", Regions, RegionFeatures)


class Transform(nn.Module):
    """Linear layer, GELU and LayerNorm, as BERT has them before it predicts a word. (N, hidden)"""

    def __init__(self, *, width: int, hidden: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=layer_norm_eps)

    def forward(self, values_ND: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(values_ND)))


class MaskedWords(nn.Module):
    """Logits of every piece of the vocabulary at the hidden words (BERT, section 3.1; ViLT, section 3.2). (N, V)

    Args:
        width: of a joint text token.
        words: the word embeddings of the text embedder, which are the weight of the last layer, too.
        layer_norm_eps: 1e-12 in BERT.
    """

    def __init__(self, *, width: int, words: nn.Embedding, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=words.embedding_dim, layer_norm_eps=layer_norm_eps)
        self.words = words.weight  # a parameter and no module: random weights for the head must not reach it
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, joint: Joint, chosen_BL: Tensor) -> Tensor:
        return F.linear(self.transform(text_at(joint, chosen_BL)), self.words, self.bias)


class MaskedRegionFeatures(nn.Module):
    """The detector's features of the hidden regions (MRFR: UNITER, section 3.2). (N, features)

    Args:
        width: of a joint image token.
        features: channels of a region's feature.
        projection: what made tokens of the features; its weight, transposed, is that of the last layer, as in
            UNITER's published code. None for a last layer of its own.
        layer_norm_eps: 1e-12 in UNITER.
    """

    def __init__(
        self, *, width: int, features: int, projection: RegionProjection | None, layer_norm_eps: float
    ) -> None:
        super().__init__()
        self.features = features
        layer = nn.Linear(features, width, bias=False) if projection is None else projection.feature
        self.transform = Transform(width=width, hidden=layer.out_features, layer_norm_eps=layer_norm_eps)
        self.own = layer if projection is None else None
        self.shared = None if projection is None else layer.weight  # no module, as the words above
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, joint: Joint, chosen_BR: Tensor) -> Tensor:
        weight_DC = self.shared if self.own is None else self.own.weight
        assert weight_DC is not None
        hidden_ND = self.transform(image_at(joint, chosen_BR))
        return F.linear(hidden_ND, weight_DC[:, : self.features].t(), self.bias)


class MaskedRegionClasses(nn.Module):
    """Logits of the detector's classes at the hidden regions (MRC, MRC-kl: UNITER, section 3.2). (N, classes)

    Args:
        width: of a joint image token.
        classes: K, the background counted where the targets have it.
        layer_norm_eps: 1e-12 in UNITER.
    """

    def __init__(self, *, width: int, classes: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=width, layer_norm_eps=layer_norm_eps)
        self.classifier = nn.Linear(width, classes)

    def forward(self, joint: Joint, chosen_BR: Tensor) -> Tensor:
        return self.classifier(self.transform(image_at(joint, chosen_BR)))


class MaskedPatchColours(nn.Module):
    """Mean colour of the hidden patches, red, green and blue (ViLT, section 4.5). (N, 3)

    Args:
        width: of a joint image token.
        layer_norm_eps: 1e-12 in ViLT's published head.
    """

    def __init__(self, *, width: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=width, layer_norm_eps=layer_norm_eps)
        self.colours = nn.Linear(width, 3)

    def forward(self, joint: Joint, chosen_BP: Tensor) -> Tensor:
        return self.colours(self.transform(image_at(joint, chosen_BP)))


class RegionMask(nn.Module):
    """Hides regions behind a learned feature, as UNITER's published code does; they keep their boxes.

    Args:
        features: channels of a region's feature.
    """

    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(features))

    def forward(self, found: Found, chosen_BR: Tensor) -> Found:
        return with_masked_regions(found, chosen_BR, self.embedding)

    def initialise_random(self, generator: torch.Generator) -> None:
        self.embedding.normal_(0, 0.02, generator=generator)


def text_at(joint: Joint, chosen_BL: Tensor) -> Tensor:
    """The joint text tokens at the chosen places, text by text, (N, D). Raises ValueError without text."""
    if joint.text is None:
        raise ValueError("masked words need text")
    return joint.text.values[chosen_BL]


def image_at(joint: Joint, chosen_BR: Tensor) -> Tensor:
    """The joint image tokens at the chosen regions or patches, image by image, (N, D).

    Tokens of the whole image, [CLS] or a mean region, come before those that can be chosen.
    """
    values_BRD = joint.image.values
    return values_BRD[:, values_BRD.shape[1] - chosen_BR.shape[1] :][chosen_BR]

"""Heads that training adds to a model: each predicts the masked words, regions or patches from the joint tokens.

A new head must be initialised with `vlbench.architectures.initialise.initialise_random`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.interfaces import Joint
from vlbench.architectures.region import RegionProjection
from vlbench.training.losses import LEVELS
from vlbench.training.masking import AnyRegions, with_masked_regions


class Transform(nn.Module):
    """Linear layer, GELU and LayerNorm, as in BERT before the prediction of a word. (N, hidden)"""

    def __init__(self, *, width: int, hidden: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(hidden, eps=layer_norm_eps)

    def forward(self, values_ND: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(values_ND)))


class MaskedWords(nn.Module):
    """Logits of every piece of the vocabulary at the masked words (BERT, section 3.1; ViLT, section 3.2). (N, V)

    Args:
        width: of a joint text token.
        words: the word embeddings of the text embedder, whose weight the last layer shares.
        layer_norm_eps: 1e-12 in BERT.
    """

    def __init__(self, *, width: int, words: nn.Embedding, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=words.embedding_dim, layer_norm_eps=layer_norm_eps)
        self.words = words.weight  # the parameter, not the module, so that initialising the head leaves it alone
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, joint: Joint, chosen_BL: Tensor) -> Tensor:
        return F.linear(self.transform(text_at(joint, chosen_BL)), self.words, self.bias)


class MaskedRegionFeatures(nn.Module):
    """The detector's features of the masked regions (MRFR: UNITER, section 3.2). (N, features)

    Args:
        width: of a joint image token.
        features: channels of a region's feature.
        projection: turns features into tokens. The last layer shares its weight, transposed, as in UNITER's published
            code; None for a last layer with its own weight.
        layer_norm_eps: 1e-12 in UNITER.
    """

    def __init__(
        self, *, width: int, features: int, projection: RegionProjection | None, layer_norm_eps: float
    ) -> None:
        super().__init__()
        self.features = features
        layer = nn.Linear(features, width, bias=False) if projection is None else projection.feature
        self.transform = Transform(width=width, hidden=layer.out_features, layer_norm_eps=layer_norm_eps)
        self.last_layer = layer if projection is None else None
        self.shared_weight = None if projection is None else layer.weight  # the parameter, as in MaskedWords
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, joint: Joint, chosen_BR: Tensor) -> Tensor:
        weight_DC = self.shared_weight if self.last_layer is None else self.last_layer.weight
        assert weight_DC is not None
        hidden_ND = self.transform(image_at(joint, chosen_BR))
        return F.linear(hidden_ND, weight_DC[:, : self.features].t(), self.bias)


class MaskedRegionClasses(nn.Module):
    """Logits of the detector's classes at the masked regions (MRC, MRC-kl: UNITER, section 3.2). (N, classes)

    Args:
        width: of a joint image token.
        classes: K, including the background if the targets have it.
        layer_norm_eps: 1e-12 in UNITER.
    """

    def __init__(self, *, width: int, classes: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=width, layer_norm_eps=layer_norm_eps)
        self.classifier = nn.Linear(width, classes)

    def forward(self, joint: Joint, chosen_BR: Tensor) -> Tensor:
        return self.classifier(self.transform(image_at(joint, chosen_BR)))


class MaskedPatchLevels(nn.Module):
    """Logits of the 256 levels of the mean red, green and blue of the masked patches (ViLT, section 4.5). (N, 3, 256)

    Args:
        width: of a joint image token.
        layer_norm_eps: 1e-12 in ViLT's published head.
    """

    def __init__(self, *, width: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.transform = Transform(width=width, hidden=width, layer_norm_eps=layer_norm_eps)
        self.levels = nn.Linear(width, 3 * LEVELS)

    def forward(self, joint: Joint, chosen_BP: Tensor) -> Tensor:
        return self.levels(self.transform(image_at(joint, chosen_BP))).unflatten(1, (3, LEVELS))


class RegionMask(nn.Module):
    """Replaces the features of masked regions by a learned one, as in UNITER's published code; boxes stay.

    Args:
        features: channels of a region's feature.
    """

    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(features))

    def forward(self, regions: AnyRegions, masked_BR: Tensor) -> AnyRegions:
        return with_masked_regions(regions, masked_BR, self.embedding)

    def initialise_random(self, generator: torch.Generator) -> None:
        self.embedding.normal_(0, 0.02, generator=generator)


def text_at(joint: Joint, chosen_BL: Tensor) -> Tensor:
    """The joint text tokens at the chosen positions, text by text, (N, D). Raises ValueError without text."""
    if joint.text is None:
        raise ValueError("masked words need text")
    return joint.text.values[chosen_BL]


def image_at(joint: Joint, chosen_BR: Tensor) -> Tensor:
    """The joint image tokens of the chosen regions or patches, image by image, (N, D).

    Tokens that stand for the whole image, [CLS] or a mean region, come first and cannot be chosen.
    """
    values_BRD = joint.image.values
    return values_BRD[:, values_BRD.shape[1] - chosen_BR.shape[1] :][chosen_BR]

"""Interactions of text and image: the single stream, and those that score each pair of a text and an image without
further layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.blocks import Block, attention_bias
from vlbench.architectures.interfaces import Joint, Tokens, alternating, join, mean_of_real, split
from vlbench.specs import DotProductSpec, SingleStreamSpec, StackedCrossAttentionSpec


class SingleStream(nn.Module):
    """One transformer over the text and image tokens side by side (UNITER, section 3.1; ViLT, section 3.1).

    Args:
        spec: describes it.
        images: of an example. The images of a pair alternate in a batch; each of the two has a modal type of its own.
    """

    def __init__(self, spec: SingleStreamSpec, *, images: int = 1) -> None:
        super().__init__()
        self.modal_types = nn.Embedding(1 + images, spec.width) if spec.modal_types else None
        self.blocks = nn.ModuleList(
            Block(
                width=spec.width,
                heads=spec.heads,
                mlp_width=spec.mlp_width,
                norm=spec.norm,
                dropout=spec.dropout,
                layer_norm_eps=spec.layer_norm_eps,
            )
            for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.layer_norm_eps) if spec.norm == "pre" else None

    def forward(self, text: Tokens | None, image: Tokens) -> Joint:
        if self.modal_types is not None:
            text = text and self._of_modality(text, self.modal_types.weight[0])
            image = self._of_modality(image, self.modal_types.weight[1:].squeeze(0))
        joint = join(text, image)
        values, bias = joint.values, attention_bias(joint.mask, joint.values.dtype)
        for block in self.blocks:
            values = block(values, bias)
        if self.norm is not None:
            values = self.norm(values)
        return split(Tokens(values=values, mask=joint.mask), text.values.shape[1] if text else 0)

    def _of_modality(self, tokens: Tokens, types: Tensor) -> Tokens:
        return Tokens(values=tokens.values + alternating(types, tokens.values.shape[0]), mask=tokens.mask)


class DotProduct(nn.Module):
    """The cosine of one token of each modality (VSE++, section 3.1; CLIP, section 2.3). (B, 1)"""

    def __init__(self, spec: DotProductSpec) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((1,), math.log(spec.logit_scale))) if spec.logit_scale else None

    def forward(self, text: Tokens, image: Tokens) -> Tensor:
        unit_text_B1D, unit_image_B1D = F.normalize(text.values, dim=2), F.normalize(image.values, dim=2)
        score_B1 = torch.bmm(unit_text_B1D, unit_image_B1D.transpose(1, 2)).flatten(1)
        return score_B1 if self.log_scale is None else score_B1 * self.log_scale.exp()


class StackedCrossAttention(nn.Module):
    """Words attend to regions, or regions to words, and are compared with what they attended to (SCAN, section 3.1).
    (B, 1)

    Negative similarities become 0, as in the paper; its released code lets a tenth of them pass.
    """

    def __init__(self, spec: StackedCrossAttentionSpec) -> None:
        super().__init__()
        settings = {
            "text_image": (spec.text_image_temperature, spec.text_image_lse),
            "image_text": (spec.image_text_temperature, spec.image_text_lse),
        }
        self.settings = {direction: settings[direction] for direction in spec.directions}
        self.pooling = spec.pooling

    def forward(self, text: Tokens, image: Tokens) -> Tensor:
        cosine_BTI = torch.bmm(F.normalize(text.values, dim=2), F.normalize(image.values, dim=2).transpose(1, 2))
        scores = []
        for direction, (temperature, lse) in self.settings.items():
            queries, keys, cosine = text, image, cosine_BTI
            if direction == "image_text":
                queries, keys, cosine = image, text, cosine_BTI.transpose(1, 2)
            relevance = Tokens(values=_relevance(queries, keys, cosine, temperature)[:, :, None], mask=queries.mask)
            scores.append(mean_of_real(relevance) if self.pooling == "mean" else _log_sum_exp(relevance, lse))
        return torch.stack(scores).mean(dim=0)


def _relevance(queries: Tokens, keys: Tokens, cosine_BQS: Tensor, temperature: float) -> Tensor:
    """Cosine of each query token with the mixture that it attends to, (B, Q) (SCAN, equations 1 to 4)."""
    similarity_BQS = F.relu(cosine_BQS)
    if queries.mask is not None:
        similarity_BQS = similarity_BQS * queries.mask[:, :, None]
    logits_BQS = temperature * F.normalize(similarity_BQS, dim=1)
    bias_B11S = attention_bias(keys.mask, logits_BQS.dtype)
    if bias_B11S is not None:
        logits_BQS = logits_BQS + bias_B11S[:, 0]
    mixed_BQD = torch.bmm(logits_BQS.softmax(dim=2), keys.values)
    return F.cosine_similarity(queries.values, mixed_BQD, dim=2)


def _log_sum_exp(relevance: Tokens, factor: float) -> Tensor:
    """(B, 1)"""
    values_BQ1 = factor * relevance.values
    if relevance.mask is not None:
        values_BQ1 = values_BQ1.masked_fill(~relevance.mask[:, :, None], float("-inf"))
    return values_BQ1.logsumexp(dim=1) / factor


def score_matrix(interaction: nn.Module, text: Tokens, image: Tokens) -> Tensor:
    """Scores of every text with every image, one row per text, (texts, images); the interaction scores pairs."""
    images = len(image.values)
    rows = []
    for index in range(len(text.values)):
        values = text.values[index].expand(images, -1, -1)
        mask = None if text.mask is None else text.mask[index].expand(images, -1)
        rows.append(interaction(Tokens(values=values, mask=mask), image)[:, 0])
    return torch.stack(rows)

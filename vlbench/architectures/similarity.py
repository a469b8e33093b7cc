"""Interactions that give a score of each pair of text and image, without further layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.blocks import attention_bias
from vlbench.architectures.interfaces import Tokens, mean_of_real


class DotProduct(nn.Module):
    """The cosine of one token of each modality (VSE++, section 3.1; CLIP, section 2.3). (B, 1)

    Args:
        logit_scale: first value of a factor whose logarithm is learned; None for the cosine itself.
    """

    def __init__(self, *, logit_scale: float | None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((1,), math.log(logit_scale))) if logit_scale else None

    def forward(self, text: Tokens, image: Tokens) -> Tensor:
        unit_text_B1D, unit_image_B1D = F.normalize(text.values, dim=2), F.normalize(image.values, dim=2)
        score_B1 = torch.bmm(unit_text_B1D, unit_image_B1D.transpose(1, 2)).flatten(1)
        return score_B1 if self.log_scale is None else score_B1 * self.log_scale.exp()


class StackedCrossAttention(nn.Module):
    """Words attend to regions, or regions to words, and are compared with what they saw (SCAN, section 3.1). (B, 1)

    Negative similarities become 0 as the paper writes; its released code lets a tenth of them pass.

    Args:
        directions: `text_image`, in which words ask regions, `image_text`, or both, whose mean is the score.
        text_image_temperature, image_text_temperature: inverse temperature of the attention.
        pooling: of the relevance of all that ask: `lse` (equation 5) or `mean` (equation 6).
        text_image_lse, image_text_lse: factor within LogSumExp.
    """

    def __init__(
        self,
        *,
        directions: Sequence[str],
        text_image_temperature: float,
        image_text_temperature: float,
        pooling: str,
        text_image_lse: float,
        image_text_lse: float,
    ) -> None:
        super().__init__()
        settings = {
            "text_image": (text_image_temperature, text_image_lse),
            "image_text": (image_text_temperature, image_text_lse),
        }
        self.settings = {direction: settings[direction] for direction in directions}
        self.pooling = pooling

    def forward(self, text: Tokens, image: Tokens) -> Tensor:
        cosine_BTI = torch.bmm(F.normalize(text.values, dim=2), F.normalize(image.values, dim=2).transpose(1, 2))
        scores = []
        for direction, (temperature, lse) in self.settings.items():
            asking, asked, cosine = text, image, cosine_BTI
            if direction == "image_text":
                asking, asked, cosine = image, text, cosine_BTI.transpose(1, 2)
            relevance = Tokens(values=_relevance(asking, asked, cosine, temperature)[:, :, None], mask=asking.mask)
            scores.append(mean_of_real(relevance) if self.pooling == "mean" else _log_sum_exp(relevance, lse))
        return torch.stack(scores).mean(dim=0)


def _relevance(asking: Tokens, asked: Tokens, cosine_BQS: Tensor, temperature: float) -> Tensor:
    """Cosine of each token that asks with the mixture that it attends to, (B, Q) (SCAN, equations 1 to 4)."""
    similarity_BQS = F.relu(cosine_BQS)
    if asking.mask is not None:
        similarity_BQS = similarity_BQS * asking.mask[:, :, None]
    logits_BQS = temperature * F.normalize(similarity_BQS, dim=1)
    bias_B11S = attention_bias(asked.mask, logits_BQS.dtype)
    if bias_B11S is not None:
        logits_BQS = logits_BQS + bias_B11S[:, 0]
    mixed_BQD = torch.bmm(logits_BQS.softmax(dim=2), asked.values)
    return F.cosine_similarity(asking.values, mixed_BQD, dim=2)


def _log_sum_exp(relevance: Tokens, factor: float) -> Tensor:
    """(B, 1)"""
    values_BQ1 = factor * relevance.values
    if relevance.mask is not None:
        values_BQ1 = values_BQ1.masked_fill(~relevance.mask[:, :, None], float("-inf"))
    return values_BQ1.logsumexp(dim=1) / factor


def score_matrix(interaction: nn.Module, text: Tokens, image: Tokens) -> Tensor:
    """Scores of every text with every image, a row a text, (texts, images), by an interaction that scores pairs."""
    images = len(image.values)
    rows = []
    for index in range(len(text.values)):
        values = text.values[index].expand(images, -1, -1)
        mask = None if text.mask is None else text.mask[index].expand(images, -1)
        rows.append(interaction(Tokens(values=values, mask=mask), image)[:, 0])
    return torch.stack(rows)

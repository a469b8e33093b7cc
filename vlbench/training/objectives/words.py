"""Masked language modelling."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from vlbench.training.objectives.averages import mean


def masked_words_loss(logits_NV: Tensor, wanted_N: Tensor) -> Tensor:
    """Cross-entropy of the hidden pieces, their mean, (); 0 where none is hidden (BERT, section 3.1).

    Args:
        logits_NV: of every piece of the vocabulary at each hidden place, in the order of `wanted_N`.
        wanted_N: ids of what stood there, `MaskedText.wanted`.
    """
    return mean(F.cross_entropy(logits_NV.float(), wanted_N, reduction="none"))

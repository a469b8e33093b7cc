"""Which image tokens each word is carried to by the cheapest transport plan (ViLT, section 4.7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vlbench.architectures.tokens import Joint
from vlbench.explain.explanation import Alignment
from vlbench.explain.words import Word
from vlbench.training.transport import cost, transport_plan

BETA = 0.5  # as in training (ViLT, section 3.2)
ITERATIONS = 1000  # 50 in training; so many make a clear picture (ViLT, section 4.7)


def align(joint: Joint, words: Sequence[Word], places: Tensor) -> Alignment:
    """The plan between the tokens of words and those of places, after the last layer, of the first example.

    Special tokens take no part, as in ViLT's code. The pieces of a word are taken together.

    Args:
        joint: text and image of one width.
        words: of the text.
        places: which image tokens lie somewhere, (R,) int64.
    """
    assert joint.text is not None
    pieces = [token for word in words for token in word.tokens]
    costs_1LR = cost(joint.text.values[:1, pieces], joint.image.values[:1, places])
    plan_LR = transport_plan(costs_1LR, None, None, beta=BETA, iterations=ITERATIONS)[0]
    owners = torch.tensor([place for place, word in enumerate(words) for _ in word.tokens], device=plan_LR.device)
    mass_WR = plan_LR.new_zeros(len(words), plan_LR.shape[1]).index_add_(0, owners, plan_LR)
    shares_WR = (mass_WR / mass_WR.sum(dim=1, keepdim=True)).cpu().numpy()
    return Alignment(shares=shares_WR.astype(np.float32), beta=BETA, iterations=ITERATIONS)

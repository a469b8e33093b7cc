"""Answers to questions, chosen from a set."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from vlbench.training.objectives.averages import mean


def answers_loss(logits_BA: Tensor, answers_B: Tensor) -> Tensor:
    """Cross-entropy of the one right answer, (). What has none in the set, -1, is left out; 0 where none has."""
    known_B = answers_B >= 0
    return mean(F.cross_entropy(logits_BA[known_B].float(), answers_B[known_B], reduction="none"))


def soft_answers_loss(logits_BA: Tensor, scores_BA: Tensor) -> Tensor:
    """Binary cross-entropy of every answer with its soft score, summed over answers, mean over questions, ().

    VQA's answers are right in part (UNITER, section 4; ViLT, section 4.3). 0 without questions.

    Args:
        logits_BA: of each answer.
        scores_BA: of each answer, 0 to 1.
    """
    each_BA = F.binary_cross_entropy_with_logits(logits_BA.float(), scores_BA.float(), reduction="none")
    return mean(each_BA.sum(dim=1))

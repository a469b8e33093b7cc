"""The optimiser and its learning rate schedule."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW, Optimizer

from vlbench.training.learner import TrainingSettings

BETAS = (0.9, 0.98)  # in the released code of ViLT and UNITER; their papers give none
EPSILON = 1e-8  # in ViLT's released code
WITHOUT_DECAY = frozenset({"positions", "class_token", "position_embeddings", "cls_token", "pos_embed"})


def rate_factor(share: float, *, warm_up: float) -> float:
    """The learning rate at a share of the budget, divided by the highest: linearly up to 1, then down to 0.

    It depends on the share alone, so a budget of seconds has a complete schedule, too.
    """
    if share < warm_up:
        return share / warm_up
    return (1.0 - share) / (1.0 - warm_up) if warm_up < 1 else 1.0


def build_optimiser(module: nn.Module, settings: TrainingSettings) -> Optimizer:
    """AdamW over all parameters that require a gradient.

    Biases and norms have no weight decay, as in ViLT's and UNITER's released code; nor have positions and class tokens,
    as in the code of ViT, on which ViLT builds.
    """
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for name, parameter in trained if has_decay(name, parameter.ndim) == decayed],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    nonempty = [group for group in groups if group["params"]]
    return AdamW(nonempty, lr=settings.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def has_decay(name: str, dimensions: int) -> bool:
    """Whether a parameter has weight decay: matrices have, unless they are positions or class tokens."""
    return dimensions > 1 and not WITHOUT_DECAY & set(name.split("."))

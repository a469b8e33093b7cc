"""The optimiser, and how its rate rises and falls."""

from __future__ import annotations

from torch import nn
from torch.optim import AdamW, Optimizer

from vlbench.training.settings import TrainingSettings

BETAS = (0.9, 0.98)  # in the released code of ViLT and UNITER; their papers do not say
EPSILON = 1e-8  # ViLT's, as released
UNDECAYED = frozenset({"positions", "class_token", "position_embeddings", "cls_token", "pos_embed"})


def rate(share: float, *, warm_up: float) -> float:
    """The learning rate at a share of the budget, as a share of its height: up to 1 linearly, then down to 0.

    A function of the share alone, so that a budget of seconds has its full schedule too.
    """
    if share < warm_up:
        return share / warm_up
    return (1.0 - share) / (1.0 - warm_up) if warm_up < 1 else 1.0


def optimizer(module: nn.Module, settings: TrainingSettings) -> Optimizer:
    """AdamW over all that requires a gradient.

    Weight decay is left out for biases and norms, as ViLT's and UNITER's released code does, and for positions and
    class tokens, as that of ViT does, on which ViLT builds.
    """
    trained = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    groups = [
        {
            "params": [one for name, one in trained if decays(name, one.ndim) == decayed],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    wanted = [group for group in groups if group["params"]]
    return AdamW(wanted, lr=settings.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def decays(name: str, dimensions: int) -> bool:
    """Whether a parameter has weight decay: one that is a matrix or more, and no position or class token."""
    return dimensions > 1 and not UNDECAYED & set(name.split("."))


def set_rate(optimiser: Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate

"""Random weights to train from, where those to measure with would take narrow models long to get away from."""

from __future__ import annotations

import torch
from torch import nn

from vlbench.architectures.model import VLModel
from vlbench.architectures.patch import PatchEmbedder

POSITIONS = 0.3  # of a patch, about as large as what its pixels give


@torch.no_grad()
def draw_first_weights(model: VLModel, seed: int) -> None:
    """Weights of the interaction and the head that keep the scale of what they read (Glorot and Bengio 2010).

    BERT's 0.02 does so at a width of 2,500 only: at 192 all attention begins even, and a model guesses from what an
    image holds at all long before it looks at a place. Positions of patches begin as large as patches for the same
    reason.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in (model.interaction, model.head):
        for module in part.modules() if part is not None else ():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, module.in_features**-0.5, generator=generator)
    if isinstance(model.visual, PatchEmbedder):
        model.visual.positions.normal_(0, POSITIONS, generator=generator)

"""Random weights with which all activations stay finite and of about unit scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from torch import nn

from vlbench.errors import SpecError

RESET = "reset_parameters"


@contextmanager
def without_default_weights() -> Iterator[None]:
    """Leaves linear and embedding layers that are made within it uninitialised, for `initialise_random` to fill.

    PyTorch's own initialisation takes half of the time of building a transformer.
    """
    defaults = {kind: getattr(kind, RESET) for kind in (nn.Linear, nn.Embedding)}
    for kind in defaults:
        setattr(kind, RESET, lambda module: None)
    try:
        yield
    finally:
        for kind, default in defaults.items():
            setattr(kind, RESET, default)


def on_meta(model: nn.Module) -> bool:
    """Whether a model has shapes but no values."""
    return any(parameter.is_meta for parameter in model.parameters())


def check_memory(name: str, model: nn.Module) -> None:
    """Raises SpecError if the weights of a model on the meta device need more memory than is free now."""
    needed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed > free:
        raise SpecError(
            f"{name}: its weights need {needed / 2**30:,.1f} GiB, but {free / 2**30:,.1f} GiB of memory are free; "
            "a model of fewer or narrower layers works"
        )


@torch.no_grad()
def initialise_random(model: nn.Module, seed: int) -> None:
    """Draws all weights from one seed.

    Linear and embedding layers get a normal of 0.02, as in BERT and ViT, norms the identity. Then each module that has
    an `initialise_random` of its own applies it. Does nothing on the meta device.
    """
    if on_meta(model):
        return
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.normal_(0, 0.02, generator=generator)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.zero_()
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            module.reset_parameters()
    for module in model.modules():
        rule = getattr(module, "initialise_random", None)
        if rule is not None:
            rule(generator)

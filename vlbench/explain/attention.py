"""The attention weights of a pass, which the model itself never holds: it computes them fused with what they mix.

Watching changes no output and costs nothing where nobody watches: no module knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vlbench.architectures.blocks import Attention, CrossAttention
from vlbench.explain.explanation import BOTH, IMAGE, TEXT, AttentionMap

KINDS = {"text": "text", "image": "image", "connections": "connection", "cross": "cross"}  # of layers, by their list


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What an attention module of some name did in one call; rows sum to 1."""

    name: str
    weights: Tensor  # (B, heads, queries, keys) float32


@contextmanager
def watched(module: nn.Module) -> Iterator[list[Watched]]:
    """Fills the list with every attention computed within a module while the context lasts, in order."""
    found: list[Watched] = []
    watch = _Watch()

    def take(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, _arguments: Any) -> None:
            assert watch.latest is not None
            found.append(Watched(name=name, weights=watch.latest))
            watch.latest = None

        return hook

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if isinstance(part, Attention | CrossAttention):  # what was mixed goes through `out`, and nowhere else
                stack.callback(part.out.register_forward_pre_hook(take(name)).remove)
        stack.enter_context(watch)
        yield found


class _Watch(TorchFunctionMode):
    """Computes the weights beside each fused attention, from the very tensors that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            query, key, _value, *_ = args
            self.latest = weights_of(query, key, (kwargs or {}).get("attn_mask"))
        return result


@torch.no_grad()
def weights_of(query_BHQC: Tensor, key_BHSC: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(QK' / sqrt(C) + bias), (B, H, Q, S) float32 (Vaswani et al. 2017, equation 1)."""
    logits_BHQS = query_BHQC.float() @ key_BHSC.float().transpose(2, 3) / query_BHQC.shape[-1] ** 0.5
    return (logits_BHQS if bias is None else logits_BHQS + bias.float()).softmax(dim=3)


def maps_of(found: Sequence[Watched], real: dict[str, Tensor]) -> tuple[AttentionMap, ...]:
    """Each layer's attention in the first example of the batch, of real tokens.

    Args:
        found: within an interaction, in order.
        real: of TEXT and IMAGE, which tokens are, (L,) bool.
    """
    real = real | {BOTH: torch.cat((real[TEXT], real[IMAGE]))}
    maps = []
    turns: dict[str, int] = {}
    for one in found:
        turns[one.name] = turns.get(one.name, 0) + 1
        layer, asks, asked = _meaning(one.name, turns[one.name])
        weights_HQS = one.weights[0]
        if weights_HQS.shape[2] == len(real[BOTH]):
            asked = BOTH  # as where the streams of a layer attend to each other's keys, too
        kept = weights_HQS[:, real[asks]][:, :, real[asked]]
        maps.append(AttentionMap(layer=layer, asks=asks, asked=asked, weights=kept.float().cpu().numpy()))
    return tuple(maps)


def _meaning(name: str, turn: int) -> tuple[str, str, str]:
    """Layer, who asks and who is asked, of the module of this name within an interaction, called for this time."""
    kind, number, *rest = name.split(".")
    if kind == "blocks":
        return str(int(number) + 1), BOTH, BOTH
    layer = f"{KINDS[kind]}-{int(number) + 1}"
    if kind in (TEXT, IMAGE):
        return layer, kind, kind
    other = {TEXT: IMAGE, IMAGE: TEXT}
    if kind == "connections":
        return layer, rest[0], other[rest[0]]
    if rest == ["attention"]:  # one for both directions: text asks first
        asks = TEXT if turn == 1 else IMAGE
        return layer, asks, other[asks]
    return layer, rest[0], rest[0]

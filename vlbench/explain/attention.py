"""Records the attention weights of a forward pass.

Models compute attention fused and never hold its weights. They are computed again here, next to each fused call, from
the same queries and keys. Recording changes no output, and costs nothing where it is not used.
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

# The interaction's lists of layers, and what a layer of each is called
LAYER_NAMES = {"text": "text", "image": "image", "connections": "connection", "cross": "cross"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttention:
    """What one attention module computed in one call; each row of weights sums to 1."""

    module: str  # its name within the recorded module
    weights: Tensor  # (B, heads, queries, keys) float32


@contextmanager
def record_attention(module: nn.Module) -> Iterator[list[RecordedAttention]]:
    """Within the context, appends to the list what each attention of `module` computes, in the order of the calls."""
    records: list[RecordedAttention] = []
    fused = _FusedAttention()

    def record(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_module: nn.Module, _arguments: Any) -> None:
            assert fused.latest_weights is not None
            records.append(RecordedAttention(module=name, weights=fused.latest_weights))
            fused.latest_weights = None

        return hook

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if isinstance(part, Attention | CrossAttention):  # their fused attention is followed by `out`, always
                stack.callback(part.out.register_forward_pre_hook(record(name)).remove)
        stack.enter_context(fused)
        yield records


class _FusedAttention(TorchFunctionMode):
    """Intercepts calls of fused attention and computes the weights from the same tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.latest_weights: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            query, key, _value, *_ = args
            self.latest_weights = attention_weights(query, key, (kwargs or {}).get("attn_mask"))
        return result


@torch.no_grad()
def attention_weights(query_BHQC: Tensor, key_BHSC: Tensor, bias: Tensor | None) -> Tensor:
    """softmax(QK' / sqrt(C) + bias), (B, H, Q, S) float32 (Vaswani et al. 2017, equation 1)."""
    logits_BHQS = query_BHQC.float() @ key_BHSC.float().transpose(2, 3) / query_BHQC.shape[-1] ** 0.5
    return (logits_BHQS if bias is None else logits_BHQS + bias.float()).softmax(dim=3)


def attention_maps(records: Sequence[RecordedAttention], masks: dict[str, Tensor]) -> tuple[AttentionMap, ...]:
    """One map per record, of the first example of the batch, without padding.

    Args:
        records: from an interaction, in the order of its calls.
        masks: (L,) bool of TEXT and of IMAGE, True = a real token.
    """
    masks = masks | {BOTH: torch.cat((masks[TEXT], masks[IMAGE]))}
    maps = []
    calls: dict[str, int] = {}
    for record in records:
        calls[record.module] = calls.get(record.module, 0) + 1
        layer, queries, keys = _layer_queries_keys(record.module, calls[record.module])
        weights_HQS = record.weights[0]
        if weights_HQS.shape[2] == len(masks[BOTH]):
            keys = BOTH  # also where each stream of a layer attends to both streams
        kept = weights_HQS[:, masks[queries]][:, :, masks[keys]]
        maps.append(AttentionMap(layer=layer, queries=queries, keys=keys, weights=kept.float().cpu().numpy()))
    return tuple(maps)


def _layer_queries_keys(module: str, call: int) -> tuple[str, str, str]:
    """The layer that a module of an interaction belongs to, and whose tokens are its queries and its keys.

    Args:
        module: its name.
        call: which call of this module it is, from 1.
    """
    kind, number, *rest = module.split(".")
    if kind == "blocks":
        return str(int(number) + 1), BOTH, BOTH
    layer = f"{LAYER_NAMES[kind]}-{int(number) + 1}"
    if kind in (TEXT, IMAGE):
        return layer, kind, kind
    other = {TEXT: IMAGE, IMAGE: TEXT}
    if kind == "connections":
        return layer, rest[0], other[rest[0]]
    if rest == ["attention"]:  # one module for both directions; the text's queries come first
        queries = TEXT if call == 1 else IMAGE
        return layer, queries, other[queries]
    return layer, rest[0], rest[0]

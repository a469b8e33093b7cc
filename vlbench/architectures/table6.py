"""Counts a model as ViLT's Table 6 does, which mixes two conventions (docs/table6.md).

Per multiply-accumulate the visual embedder is charged about one FLOP, its projection two, and the transformer about
2.55: it includes elementwise work and, for every token, a product with a one-hot vector of the vocabulary. Text
embeddings, box geometry, LayerNorms of the embedders, pooler and head are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.interaction import DotProduct, SingleStream, StackedCrossAttention
from vlbench.architectures.vl_model import VLModel

VOCABULARY = 30522  # charged whatever the model's own is
CLASSES = 2  # of the head that every token is charged for


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a part costs: its plain multiply-accumulates, and the FLOPs that the table charges for it."""

    macs: int = 0
    flops: int = 0

    def __add__(self, other: Charge) -> Charge:
        return Charge(macs=self.macs + other.macs, flops=self.flops + other.flops)

    def __mul__(self, times: int) -> Charge:
        return Charge(macs=self.macs * times, flops=self.flops * times)


def params_table6(model: VLModel) -> int | None:
    """Trainable parameters of the visual embedder, its projection and the transformer layers; None for other kinds."""
    parts = _counted_parts(model)
    if parts is None:
        return None
    vision, projection = parts
    layers = model.interaction.blocks if isinstance(model.interaction, SingleStream) else model.interaction
    counted = (*vision, projection, layers)
    return sum(value.numel() for part in counted for value in part.parameters() if value.requires_grad)


def charge_table6(
    spec: specs.ModelSpec, model: VLModel, forward: Callable[[], object], *, image_tokens: int
) -> Charge | None:
    """What one example costs; None where Table 6 has no such architecture.

    Args:
        spec: of the model; its `table6` says which tokens are charged.
        model: built from it.
        forward: runs the model once on one example.
        image_tokens: that the model makes, charged where `spec.table6` is None.
    """
    parts = _counted_parts(model)
    interaction = spec.interaction
    if (
        parts is None
        or spec.images > 1
        or not isinstance(interaction, specs.SingleStreamSpec | specs.CoAttentionSpec | specs.CrossModalitySpec)
    ):
        return None
    vision, projection = parts
    with record_charges(vision) as charged, torch.inference_mode():
        forward()
    tokens = spec.table6 or specs.Table6(text_tokens=spec.input.text_tokens, image_tokens=image_tokens)
    macs = (tokens.projected_tokens or tokens.image_tokens) * projection.weight.numel()
    return sum(charged, start=Charge(macs=macs, flops=2 * macs)) + transformer_charge(interaction, tokens)


def _counted_parts(model: VLModel) -> tuple[Sequence[nn.Module], nn.Conv2d | nn.Linear] | None:
    """The modules charged as vision, and the projection; None where no transformer follows."""
    if isinstance(model.interaction, DotProduct | StackedCrossAttention):
        return None
    return model.visual.charged_by_table6()


@contextmanager
def record_charges(parts: Iterable[nn.Module]) -> Iterator[list[Charge]]:
    """Fills its list with the charge of each layer that runs within the parts."""
    charged: list[Charge] = []
    layers = [module for part in parts for module in part.modules() if not list(module.children())]
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: charged.append(_charge(module, inputs[0], output)))
        for layer in layers
    ]
    try:
        yield charged
    finally:
        for hook in hooks:
            hook.remove()


def _charge(layer: nn.Module, inputs: Tensor, output: Tensor) -> Charge:
    """Convolutions pay their bias too, linear layers do not; norms twice and activations once each element."""
    if isinstance(layer, nn.Conv2d):
        macs = output.numel() * layer.weight[0].numel()
        return Charge(macs=macs, flops=macs + (output.numel() if layer.bias is not None else 0))
    if isinstance(layer, nn.Linear):
        macs = inputs.numel() * layer.out_features
        return Charge(macs=macs, flops=macs)
    if isinstance(layer, nn.BatchNorm2d):
        return Charge(flops=2 * output.numel())
    if isinstance(layer, nn.ReLU):
        return Charge(flops=output.numel())
    if isinstance(layer, nn.MaxPool2d | nn.AdaptiveAvgPool2d):
        return Charge(flops=inputs.numel())
    raise TypeError(f"{type(layer).__name__}: Table 6's convention says nothing of it")


def transformer_charge(
    interaction: specs.SingleStreamSpec | specs.CoAttentionSpec | specs.CrossModalitySpec, tokens: specs.Table6
) -> Charge:
    """What the layers cost, and in the table's FLOPs a transformer's embeddings and head too."""
    text, image = tokens.text_tokens, tokens.image_tokens
    if isinstance(interaction, specs.SingleStreamSpec):
        joint, width = text + image, interaction.width
        layer = _layer(width, interaction.mlp_width, interaction.heads, keys=joint)
        ends = _embedding(width, joint) * tokens.embeddings_charged + _head(width)
        return (layer * interaction.layers + ends) * joint
    if isinstance(interaction, specs.CrossModalitySpec):
        return _cross_modality(interaction, text, image, tokens.embeddings_charged)
    return _co_attention(interaction, text, image)


def _cross_modality(spec: specs.CrossModalitySpec, text: int, image: int, embeddings_charged: int) -> Charge:
    width, mlp, heads, joint = spec.width, spec.mlp_width, spec.heads, text + image
    total = _layer(width, mlp, heads, keys=text) * (spec.text_layers * text)
    total += _layer(width, mlp, heads, keys=image) * (spec.image_layers * image)
    for tokens, other in ((text, image), (image, text)):
        if spec.cross == "joint":
            each = _layer(width, mlp, heads, keys=joint)
        else:
            each = _attention(width, width, heads, keys=other) + _after_attention(width)
            each += _layer(width, mlp, heads, keys=tokens)
        total += each * (spec.cross_layers * tokens) + _embedding(width, tokens) * tokens
    if embeddings_charged == 2:
        total += _embedding(width, joint) * joint
    return total + _head(width) * joint


def _co_attention(spec: specs.CoAttentionSpec, text: int, image: int) -> Charge:
    total = _head(spec.text_width) * text
    for of, tokens, other, layers in (
        ("text", text, image, spec.text_layers),
        ("image", image, text, spec.image_layers),
    ):
        width, mlp, heads = (getattr(spec, f"{of}_{what}") for what in ("width", "mlp_width", "heads"))
        connection = _attention(width, spec.connection_width, spec.connection_heads, keys=other)
        connection += _after_attention(width) + _mlp(width, mlp)
        each = (
            _layer(width, mlp, heads, keys=tokens) * layers + connection * spec.connections + _embedding(width, tokens)
        )
        total += each * tokens
    return total


def _layer(width: int, mlp: int, heads: int, *, keys: int) -> Charge:
    """A token in a layer whose queries see `keys` tokens."""
    return _attention(width, width, heads, keys=keys) + _after_attention(width) + _mlp(width, mlp)


def _attention(width: int, inner: int, heads: int, *, keys: int) -> Charge:
    """Query, key, value and output with their biases; scores and their sum; scale, softmax (5) and dropout (4)."""
    macs = 4 * width * inner + 2 * inner * keys
    return Charge(macs=macs, flops=2 * macs + 3 * inner + width + (1 + 5 + 4) * keys * heads)


def _after_attention(width: int) -> Charge:
    """Dropout, residual, and a LayerNorm that the table charges at 5 a token instead of 5 a feature."""
    return Charge(flops=4 * width + width + 5)


def _mlp(width: int, mlp: int) -> Charge:
    """Two linear layers with their biases around an activation of 8; then dropout, residual and LayerNorm."""
    macs = 2 * width * mlp
    return Charge(macs=macs, flops=2 * macs + mlp + 8 * mlp + width + (4 + 1 + 5) * width)


def _embedding(width: int, tokens: int) -> Charge:
    """A token's dense products with vocabulary, positions and segments; their sum, a LayerNorm, dropout."""
    return Charge(flops=2 * width * (VOCABULARY + tokens + 2) + (2 + 5 + 4) * width)


def _head(width: int) -> Charge:
    """A linear layer with its bias and an activation of 8, then the classes."""
    return Charge(flops=2 * width * width + width + 8 * width + CLASSES * width)

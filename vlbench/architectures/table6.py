"""Counts a model as ViLT's Table 6 does, which mixes two conventions (docs/table6.md).

The visual embedder is charged about one FLOP a multiply-accumulate; its projection two; the transformer about 2.55,
with elementwise work and, for every token, a product with a one-hot vector of the vocabulary. Text embeddings, box
geometry, LayerNorms of the embedders, pooler and head count nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.grid import GridEmbedder
from vlbench.architectures.interaction import SingleStream
from vlbench.architectures.model import VLModel
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.region import RegionEmbedder

VOCABULARY = 30522  # charged whatever the model's own is
CLASSES = 2  # of the head that every token is charged for


def params_table6(model: VLModel) -> int | None:
    """Trainable parameters of the visual embedder, its projection and the transformer layers; None for other kinds."""
    parts = _counted_parts(model)
    if parts is None:
        return None
    vision, projection = parts
    layers = model.interaction.blocks if isinstance(model.interaction, SingleStream) else model.interaction
    counted = (*vision, projection, layers)
    return sum(value.numel() for part in counted for value in part.parameters() if value.requires_grad)


def flops_table6(
    spec: specs.ModelSpec, model: VLModel, forward: Callable[[], object], *, image_tokens: int
) -> int | None:
    """FLOPs of one example; None where Table 6 has no such architecture.

    Args:
        spec: of the model; its `table6` says which tokens are charged.
        model: built from it.
        forward: runs the model once on one example.
        image_tokens: that the model makes, charged where `spec.table6` is None.
    """
    parts = _counted_parts(model)
    interaction = spec.interaction
    if parts is None or not isinstance(interaction, specs.SingleStream | specs.CoAttention | specs.CrossModality):
        return None
    vision, projection = parts
    with _charges(vision) as charged, torch.inference_mode():
        forward()
    tokens = spec.table6
    text = tokens.text_tokens if tokens else spec.input.text_tokens
    image = tokens.image_tokens if tokens else image_tokens
    projected = (tokens.projected_tokens if tokens else None) or image
    joined = transformer_flops(interaction, text, image, embeddings_charged=tokens.embeddings_charged if tokens else 1)
    return sum(charged) + 2 * projected * projection.weight.numel() + joined


def _counted_parts(model: VLModel) -> tuple[list[nn.Module], nn.Conv2d | nn.Linear] | None:
    """The modules charged as vision, and the projection."""
    visual = model.visual
    if isinstance(visual, PatchEmbedder):
        return [], visual.patch
    if isinstance(visual, GridEmbedder):
        return [visual.backbone], visual.projection.linear
    if isinstance(visual, RegionEmbedder):
        steps = (visual.backbone, visual.fpn, visual.rpn, visual.roi_head)
        return [step for step in steps if step is not None], visual.projection.feature
    return None


@contextmanager
def _charges(parts: Iterable[nn.Module]) -> Iterator[list[int]]:
    """Fills its list with the charge of each layer that runs within the parts."""
    charged: list[int] = []
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


def _charge(layer: nn.Module, inputs: Tensor, output: Tensor) -> int:
    """Convolutions pay their bias too, linear layers do not; norms twice and activations once each element."""
    if isinstance(layer, nn.Conv2d):
        macs = output.numel() * layer.weight[0].numel()
        return macs + (output.numel() if layer.bias is not None else 0)
    if isinstance(layer, nn.Linear):
        return inputs.numel() * layer.out_features
    if isinstance(layer, nn.BatchNorm2d):
        return 2 * output.numel()
    if isinstance(layer, nn.ReLU):
        return output.numel()
    if isinstance(layer, nn.MaxPool2d | nn.AdaptiveAvgPool2d):
        return inputs.numel()
    raise TypeError(f"{type(layer).__name__}: Table 6's convention says nothing of it")


def transformer_flops(
    interaction: specs.SingleStream | specs.CoAttention | specs.CrossModality,
    text: int,
    image: int,
    *,
    embeddings_charged: int = 1,
) -> int:
    """What the table charges a transformer for `text` + `image` tokens, its embeddings and its head included."""
    if isinstance(interaction, specs.SingleStream):
        joint, width = text + image, interaction.width
        layer = _layer(width, interaction.mlp_width, interaction.heads, keys=joint)
        return joint * (interaction.layers * layer + embeddings_charged * _embedding(width, joint) + _head(width))
    if isinstance(interaction, specs.CrossModality):
        return _cross_modality(interaction, text, image, embeddings_charged)
    return _co_attention(interaction, text, image)


def _cross_modality(spec: specs.CrossModality, text: int, image: int, embeddings_charged: int) -> int:
    width, mlp, heads, joint = spec.width, spec.mlp_width, spec.heads, text + image
    alone = spec.text_layers * text * _layer(width, mlp, heads, keys=text)
    alone += spec.image_layers * image * _layer(width, mlp, heads, keys=image)
    if spec.cross == "joint":
        each = joint * _layer(width, mlp, heads, keys=joint)
    else:
        each = sum(
            own * (_crossing(width, heads, keys=other) + _layer(width, mlp, heads, keys=own))
            for own, other in ((text, image), (image, text))
        )
    embeddings = text * _embedding(width, text) + image * _embedding(width, image)
    if embeddings_charged == 2:
        embeddings += joint * _embedding(width, joint)
    return alone + spec.cross_layers * each + embeddings + joint * _head(width)


def _co_attention(spec: specs.CoAttention, text: int, image: int) -> int:
    total = 0
    for of, own, other, layers in (("text", text, image, spec.text_layers), ("image", image, text, spec.image_layers)):
        width, mlp, heads = (getattr(spec, f"{of}_{what}") for what in ("width", "mlp_width", "heads"))
        connection = _attention(width, spec.connection_width, spec.connection_heads, keys=other)
        connection += _after_attention(width) + _mlp(width, mlp)
        each = layers * _layer(width, mlp, heads, keys=own) + spec.connections * connection + _embedding(width, own)
        total += own * each
    return total + text * _head(spec.text_width)


def _layer(width: int, mlp: int, heads: int, *, keys: int) -> int:
    """A token in a layer whose queries see `keys` tokens."""
    return _attention(width, width, heads, keys=keys) + _after_attention(width) + _mlp(width, mlp)


def _attention(width: int, inner: int, heads: int, *, keys: int) -> int:
    """Query, key and value; scores; scale, softmax (5) and dropout (4) of each; their sum; the output projection."""
    projections = 3 * (2 * width * inner + inner) + 2 * inner * width + width
    return projections + 4 * inner * keys + (1 + 5 + 4) * keys * heads


def _crossing(width: int, heads: int, *, keys: int) -> int:
    """A token's cross-attention onto the other stream."""
    return _attention(width, width, heads, keys=keys) + _after_attention(width)


def _after_attention(width: int) -> int:
    """Dropout, residual, and a LayerNorm that the table charges at 5 a token instead of 5 a feature."""
    return 4 * width + width + 5


def _mlp(width: int, mlp: int) -> int:
    """Two linear layers around an activation of 8, then dropout, residual and LayerNorm."""
    return 2 * width * mlp + 8 * mlp + mlp + 2 * mlp * width + width + 4 * width + width + 5 * width


def _embedding(width: int, tokens: int) -> int:
    """A token's dense products with the vocabulary and the positions, segments, LayerNorm and dropout."""
    return 2 * width * VOCABULARY + 2 * width * (tokens + 2) + 2 * width + 5 * width + 4 * width


def _head(width: int) -> int:
    return 2 * width * width + width + 8 * width + CLASSES * width

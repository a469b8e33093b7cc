"""Interactions in which text and image keep a stream each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlbench.architectures.blocks import MLP, Block, CrossAttention, attention_bias
from vlbench.architectures.interfaces import Joint, Tokens
from vlbench.specs import CoAttentionSpec, CrossModalitySpec

Streams = tuple[Tensor, Tensor]  # text (B, Lt, Dt), image (B, Li, Di)
Biases = tuple[Tensor | None, Tensor | None]


class CoAttention(nn.Module):
    """Two BERT-like streams, each attending to the other in connections between their last layers (ViLBERT, section 2).

    The first layers of each stream run alone; then a connection and a layer of each stream alternate.
    """

    def __init__(self, spec: CoAttentionSpec) -> None:
        super().__init__()
        text = (spec.text_width, spec.text_heads, spec.text_mlp_width, spec.dropout, spec.layer_norm_eps)
        image = (spec.image_width, spec.image_heads, spec.image_mlp_width, spec.dropout, spec.layer_norm_eps)
        self.text = nn.ModuleList(_block(*text) for _ in range(spec.text_layers))
        self.image = nn.ModuleList(_block(*image) for _ in range(spec.image_layers))
        self.connections = nn.ModuleList(Connection(spec) for _ in range(spec.connections))

    def forward(self, text: Tokens | None, image: Tokens) -> Joint:
        text = _required(text)
        streams, biases = _opened(text, image)
        words, regions = streams
        alone_text = len(self.text) - len(self.connections)
        alone_image = len(self.image) - len(self.connections)
        for block in self.text[:alone_text]:
            words = block(words, biases[0])
        for block in self.image[:alone_image]:
            regions = block(regions, biases[1])
        for connection, text_block, image_block in zip(
            self.connections, self.text[alone_text:], self.image[alone_image:], strict=True
        ):
            words, regions = connection((words, regions), biases)
            words, regions = text_block(words, biases[0]), image_block(regions, biases[1])
        return _closed((words, regions), text, image)


class Connection(nn.Module):
    """A co-attentional transformer layer: each stream attends to the other, then runs its own MLP (ViLBERT, section
    2.2)."""

    def __init__(self, spec: CoAttentionSpec) -> None:
        super().__init__()
        self.text, self.image = (
            CrossAttention(
                width=width,
                source_width=source_width,
                inner_width=spec.connection_width,
                heads=spec.connection_heads,
                dropout=spec.dropout,
            )
            for width, source_width in ((spec.text_width, spec.image_width), (spec.image_width, spec.text_width))
        )
        eps = spec.layer_norm_eps
        self.text_norm, self.text_mlp_norm = (nn.LayerNorm(spec.text_width, eps=eps) for _ in range(2))
        self.image_norm, self.image_mlp_norm = (nn.LayerNorm(spec.image_width, eps=eps) for _ in range(2))
        self.text_mlp = MLP(width=spec.text_width, hidden=spec.text_mlp_width)
        self.image_mlp = MLP(width=spec.image_width, hidden=spec.image_mlp_width)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, streams: Streams, biases: Biases) -> Streams:
        text, image = streams
        text_attended = self.text(text, image, biases[1])
        image_attended = self.image(image, text, biases[0])
        text = self.text_norm(text + self.dropout(text_attended))
        image = self.image_norm(image + self.dropout(image_attended))
        text = self.text_mlp_norm(text + self.dropout(self.text_mlp(text)))
        return text, self.image_mlp_norm(image + self.dropout(self.image_mlp(image)))


class CrossModality(nn.Module):
    """A language encoder, an object-relationship encoder, and layers that join them (LXMERT, section 2.2)."""

    def __init__(self, spec: CrossModalitySpec) -> None:
        super().__init__()
        self.text = nn.ModuleList(_layer(spec) for _ in range(spec.text_layers))
        self.image = nn.ModuleList(_layer(spec) for _ in range(spec.image_layers))
        layer = CrossLayer if spec.cross == "attention" else JointLayer
        self.cross = nn.ModuleList(layer(spec) for _ in range(spec.cross_layers))

    def forward(self, text: Tokens | None, image: Tokens) -> Joint:
        text = _required(text)
        (words, regions), biases = _opened(text, image)
        for block in self.text:
            words = block(words, biases[0])
        for block in self.image:
            regions = block(regions, biases[1])
        streams = (words, regions)
        for layer in self.cross:
            streams = layer(streams, biases)
        return _closed(streams, text, image)


class CrossLayer(nn.Module):
    """One cross-attention for both directions, then a transformer layer of each stream (LXMERT, section 2.2)."""

    def __init__(self, spec: CrossModalitySpec) -> None:
        super().__init__()
        self.attention = CrossAttention(
            width=spec.width, source_width=spec.width, inner_width=spec.width, heads=spec.heads, dropout=spec.dropout
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.layer_norm_eps)
        self.dropout = nn.Dropout(spec.dropout)
        self.text, self.image = (_layer(spec) for _ in range(2))

    def forward(self, streams: Streams, biases: Biases) -> Streams:
        text, image = streams
        text_attended = self.attention(text, image, biases[1])
        image_attended = self.attention(image, text, biases[0])
        text = self.norm(text + self.dropout(text_attended))
        image = self.norm(image + self.dropout(image_attended))
        return self.text(text, biases[0]), self.image(image, biases[1])


class JointLayer(nn.Module):
    """A transformer layer of each stream whose queries attend to the keys of both, as ViLT's Table 6 counts LXMERT."""

    def __init__(self, spec: CrossModalitySpec) -> None:
        super().__init__()
        self.text, self.image = (_layer(spec) for _ in range(2))

    def forward(self, streams: Streams, biases: Biases) -> Streams:
        parts = [
            block.attention.project(values) for block, values in zip((self.text, self.image), streams, strict=True)
        ]
        keys, values = (torch.cat([part[index] for part in parts], dim=2) for index in (1, 2))
        bias = _joined_bias(streams, biases)
        text, image = (
            block.after_attention(stream, block.attention.mix(part[0], keys, values, bias))
            for block, stream, part in zip((self.text, self.image), streams, parts, strict=True)
        )
        return text, image


def _layer(spec: CrossModalitySpec) -> Block:
    return _block(spec.width, spec.heads, spec.mlp_width, spec.dropout, spec.layer_norm_eps)


def _block(width: int, heads: int, mlp_width: int, dropout: float, layer_norm_eps: float) -> Block:
    return Block(
        width=width, heads=heads, mlp_width=mlp_width, norm="post", dropout=dropout, layer_norm_eps=layer_norm_eps
    )


def _required(text: Tokens | None) -> Tokens:
    if text is None:
        raise ValueError("a text stream needs text")
    return text


def _opened(text: Tokens, image: Tokens) -> tuple[Streams, Biases]:
    biases = (attention_bias(text.mask, text.values.dtype), attention_bias(image.mask, image.values.dtype))
    return (text.values, image.values), biases


def _closed(streams: Streams, text: Tokens, image: Tokens) -> Joint:
    return Joint(text=Tokens(values=streams[0], mask=text.mask), image=Tokens(values=streams[1], mask=image.mask))


def _joined_bias(streams: Streams, biases: Biases) -> Tensor | None:
    """(B, 1, 1, Lt + Li)"""
    if biases[0] is None and biases[1] is None:
        return None
    whole = [
        stream.new_zeros(stream.shape[0], 1, 1, stream.shape[1]) if bias is None else bias
        for stream, bias in zip(streams, biases, strict=True)
    ]
    return torch.cat(whole, dim=3)

"""Transformer blocks: attention, MLP, and both orders of normalisation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Callable[[Tensor], Tensor]


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2), with one product for query, key and value.

    Args:
        width: D, a multiple of `heads`.
        heads: number of heads.
        dropout: on the attention weights while training.
    """

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, values_BLD: Tensor, bias_B11L: Tensor | None) -> Tensor:
        return self.mix(*self.project(values_BLD), bias_B11L)

    def project(self, values_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each (B, heads, L, D / heads)."""
        batch, length, width = values_BLD.shape
        qkv = self.qkv(values_BLD).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def mix(self, query: Tensor, key: Tensor, value: Tensor, bias_B11L: Tensor | None) -> Tensor:
        """Attention of the queries over the keys, (B, L, D) for L queries."""
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias_B11L, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention of one stream over another, whose width can differ.

    Args:
        width: of the stream that gives the queries.
        source_width: of the stream that is asked.
        inner_width: of queries, keys and values, over all heads; a multiple of `heads`.
        heads: number of heads.
        dropout: on the attention weights while training.
        output_width: of the result, where it is not `width`.
    """

    def __init__(
        self,
        *,
        width: int,
        source_width: int,
        inner_width: int,
        heads: int,
        dropout: float,
        output_width: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, inner_width)
        self.key_value = nn.Linear(source_width, 2 * inner_width)
        self.out = nn.Linear(inner_width, output_width or width)

    def forward(self, values_BLD: Tensor, source_BSC: Tensor, source_bias_B11S: Tensor | None) -> Tensor:
        query = self.query(values_BLD).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(source_BSC).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=source_bias_B11S, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers around an activation, by default the exact (erf) GELU."""

    def __init__(self, *, width: int, hidden: int, activation: Activation = F.gelu) -> None:
        super().__init__()
        self.activation = activation
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, values: Tensor) -> Tensor:
        return self.contract(self.activation(self.expand(values)))


class Block(nn.Module):
    """One transformer layer; `norm` is `pre` (ViT, equations 2-3) or `post` (BERT)."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        mlp_width: int,
        norm: str,
        dropout: float,
        layer_norm_eps: float,
        activation: Activation = F.gelu,
    ) -> None:
        super().__init__()
        self.pre_norm = norm == "pre"
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.attention_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.mlp = MLP(width=width, hidden=mlp_width, activation=activation)
        self.mlp_norm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values_BLD: Tensor, bias_B11L: Tensor | None) -> Tensor:
        if self.pre_norm:
            values_BLD = values_BLD + self.dropout(self.attention(self.attention_norm(values_BLD), bias_B11L))
            return values_BLD + self.dropout(self.mlp(self.mlp_norm(values_BLD)))
        return self.after_attention(values_BLD, self.attention(values_BLD, bias_B11L))

    def after_attention(self, values_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        """The rest of a post-norm layer."""
        values_BLD = self.attention_norm(values_BLD + self.dropout(attended_BLD))
        return self.mlp_norm(values_BLD + self.dropout(self.mlp(values_BLD)))


def attention_bias(mask_BL: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """0 where a token is real and -inf where it is padding, (B, 1, 1, L); made once for all layers."""
    if mask_BL is None:
        return None
    bias = torch.zeros(mask_BL.shape, dtype=dtype, device=mask_BL.device)
    return bias.masked_fill_(~mask_BL, float("-inf"))[:, None, None, :]


def causal_bias(length: int) -> Tensor:
    """-inf where a key comes after its query, (L, L)."""
    return torch.full((length, length), float("-inf")).triu(1)


def quick_gelu(values: Tensor) -> Tensor:
    """The sigmoid approximation of GELU (Hendrycks & Gimpel 2016, section 2)."""
    return values * torch.sigmoid(1.702 * values)

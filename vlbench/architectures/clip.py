"""The transformer towers of CLIP, each of which gives one token for its whole input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlbench.architectures.blocks import Block, attention_bias, causal_bias, quick_gelu
from vlbench.architectures.interfaces import Images, Text, Tokens, VisualEmbedder, last_real
from vlbench.architectures.patch import PatchEmbedder


class Encoder(nn.Module):
    """Pre-norm transformer layers with QuickGELU (CLIP, section 2.4)."""

    def __init__(self, *, layers: int, width: int, heads: int, mlp_width: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(
                width=width,
                heads=heads,
                mlp_width=mlp_width,
                norm="pre",
                dropout=0.0,
                layer_norm_eps=layer_norm_eps,
                activation=quick_gelu,
            )
            for _ in range(layers)
        )

    def forward(self, values_BLD: Tensor, bias: Tensor | None) -> Tensor:
        for block in self.blocks:
            values_BLD = block(values_BLD, bias)
        return values_BLD


class Projection(nn.Module):
    """LayerNorm, then a linear layer without bias, into the space that text and image share (CLIP, section 2.3)."""

    def __init__(self, *, inputs: int, width: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs, eps=layer_norm_eps)
        self.linear = nn.Linear(inputs, width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.linear(self.norm(values))

    def initialise_random(self, generator: torch.Generator) -> None:
        self.linear.weight.normal_(0, self.linear.in_features**-0.5, generator=generator)


class TextTransformer(nn.Module):
    """A causal transformer over word pieces; the state at the last one, projected, is the text (CLIP, section 2.4).

    The last real token is the end of the text, wherever the text comes from. The released code finds it by its id, the
    highest of CLIP's vocabulary, which would tie the architecture to one tokenizer. No token sees those after it, so
    the padding behind the end needs no mask.

    Args:
        vocabulary: word pieces in the vocabulary.
        positions: the longest text, in tokens.
        layers, inner_width, heads, mlp_width: of the transformer.
        width: D, of the text's token.
        layer_norm_eps: of every LayerNorm.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        positions: int,
        layers: int,
        inner_width: int,
        heads: int,
        mlp_width: int,
        width: int,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, inner_width)
        self.positions = nn.Embedding(positions, inner_width)
        self.encoder = Encoder(
            layers=layers, width=inner_width, heads=heads, mlp_width=mlp_width, layer_norm_eps=layer_norm_eps
        )
        self.projection = Projection(inputs=inner_width, width=width, layer_norm_eps=layer_norm_eps)
        self.bias_LL: Tensor
        self.register_buffer("bias_LL", causal_bias(positions), persistent=False)

    def forward(self, text: Text) -> Tokens:
        length = text.ids.shape[1]
        values_BLC = self.encoder(self.words(text.ids) + self.positions.weight[:length], self.bias_LL[:length, :length])
        end = last_real(Tokens(values=values_BLC, mask=text.mask))
        return Tokens(values=self.projection(end.values), mask=None)


class VisionTransformer(VisualEmbedder):
    """A transformer over patches; its class token, projected, is the image (CLIP, section 2.4).

    Args:
        patch_size: side of a patch, in pixels.
        position_grid: rows and columns of the learned positions; another grid gets them by bilinear interpolation.
        layers, inner_width, heads, mlp_width: of the transformer.
        width: D, of the image's token.
        layer_norm_eps: of every LayerNorm.
    """

    def __init__(
        self,
        *,
        patch_size: int,
        position_grid: tuple[int, int],
        layers: int,
        inner_width: int,
        heads: int,
        mlp_width: int,
        width: int,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.patch = PatchEmbedder(
            patch_size=patch_size,
            width=inner_width,
            position_grid=position_grid,
            align_corners=False,
            dropout=0.0,
            bias=False,
        )
        self.norm = nn.LayerNorm(inner_width, eps=layer_norm_eps)
        self.transformer = Encoder(
            layers=layers, width=inner_width, heads=heads, mlp_width=mlp_width, layer_norm_eps=layer_norm_eps
        )
        self.projection = Projection(inputs=inner_width, width=width, layer_norm_eps=layer_norm_eps)

    def forward(self, images: Images) -> Tokens:
        patches = self.patch(images)
        bias = attention_bias(patches.mask, patches.values.dtype)
        values_BLC = self.transformer(self.norm(patches.values), bias)
        return Tokens(values=self.projection(values_BLC[:, :1]), mask=None)

"""The transformer towers of CLIP: each gives one token for its whole input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.blocks import Activation, Block, attention_bias, causal_bias, quick_gelu
from vlbench.architectures.interfaces import Images, Text, Tokens, VisualEmbedder, last_real
from vlbench.architectures.patch import PatchEmbedder
from vlbench.specs import TextTransformerSpec, VisionTransformerSpec

ACTIVATIONS: dict[str, Activation] = {"quick_gelu": quick_gelu, "gelu": F.gelu}
TowerSpec = TextTransformerSpec | VisionTransformerSpec


class Encoder(nn.Module):
    """Pre-norm transformer layers (CLIP, section 2.4), with QuickGELU in the released code."""

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(
                width=spec.inner_width,
                heads=spec.heads,
                mlp_width=spec.mlp_width,
                norm="pre",
                dropout=0.0,
                layer_norm_eps=spec.layer_norm_eps,
                activation=ACTIVATIONS[spec.activation],
            )
            for _ in range(spec.layers)
        )

    def forward(self, values_BLD: Tensor, bias: Tensor | None) -> Tensor:
        for block in self.blocks:
            values_BLD = block(values_BLD, bias)
        return values_BLD


class Projection(nn.Module):
    """LayerNorm, then a linear layer without bias, into the space that text and image share (CLIP, section 2.3)."""

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(spec.inner_width, eps=spec.layer_norm_eps)
        self.linear = nn.Linear(spec.inner_width, spec.width, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return self.linear(self.norm(values))

    def initialise_random(self, generator: torch.Generator) -> None:
        self.linear.weight.normal_(0, self.linear.in_features**-0.5, generator=generator)


class TextTransformer(nn.Module):
    """A causal transformer over word pieces; the projected state at the last one is the text (CLIP, section 2.4).

    The text ends at its last real token. The released code finds the end by its id, the highest of CLIP's vocabulary,
    which would tie the architecture to one tokenizer. No token attends to later ones, so the padding needs no mask.
    """

    def __init__(self, spec: TextTransformerSpec) -> None:
        super().__init__()
        self.words = nn.Embedding(spec.vocabulary, spec.inner_width)
        self.positions = nn.Embedding(spec.positions, spec.inner_width)
        self.encoder = Encoder(spec)
        self.projection = Projection(spec)
        self.bias_LL: Tensor
        self.register_buffer("bias_LL", causal_bias(spec.positions), persistent=False)

    def forward(self, text: Text) -> Tokens:
        length = text.ids.shape[1]
        values_BLC = self.encoder(self.words(text.ids) + self.positions.weight[:length], self.bias_LL[:length, :length])
        end = last_real(Tokens(values=values_BLC, mask=text.mask))
        return Tokens(values=self.projection(end.values), mask=None)


class VisionTransformer(VisualEmbedder):
    """A transformer over patches; its projected class token is the image (CLIP, section 2.4)."""

    steps = ("patch", "transformer", "projection")
    untimed = ("norm",)
    ignores_padding = True

    def __init__(self, spec: VisionTransformerSpec) -> None:
        super().__init__()
        self.patch = PatchEmbedder(spec.patches, bias=False)
        self.norm = nn.LayerNorm(spec.inner_width, eps=spec.layer_norm_eps)
        self.transformer = Encoder(spec)
        self.projection = Projection(spec)

    def forward(self, images: Images) -> Tokens:
        patches = self.patch(images)
        bias = attention_bias(patches.mask, patches.values.dtype)
        values_BLC = self.transformer(self.norm(patches.values), bias)
        return Tokens(values=self.projection(values_BLC[:, :1]), mask=None)

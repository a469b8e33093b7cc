"""How text and image meet."""

from __future__ import annotations

from torch import Tensor, nn

from vlbench.architectures.blocks import Block, attention_bias
from vlbench.architectures.interfaces import Joint, Tokens, in_turn, join, split


class SingleStream(nn.Module):
    """One transformer over the text and image tokens side by side (UNITER, section 3.1; ViLT, section 3.1).

    Args:
        layers, width, heads, mlp_width: of the transformer.
        norm: `pre` with a last LayerNorm, as ViT; `post`, as BERT.
        modal_types: whether each modality gets an embedding of its own here (ViLT).
        dropout: while training.
        layer_norm_eps: of every LayerNorm.
        image_types: how many embeddings images have: where it is 2 they alternate, as the images of pairs do.
    """

    def __init__(
        self,
        *,
        layers: int,
        width: int,
        heads: int,
        mlp_width: int,
        norm: str,
        modal_types: bool,
        dropout: float,
        layer_norm_eps: float,
        image_types: int = 1,
    ) -> None:
        super().__init__()
        self.modal_types = nn.Embedding(1 + image_types, width) if modal_types else None
        self.blocks = nn.ModuleList(
            Block(
                width=width, heads=heads, mlp_width=mlp_width, norm=norm, dropout=dropout, layer_norm_eps=layer_norm_eps
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=layer_norm_eps) if norm == "pre" else None

    def forward(self, text: Tokens | None, image: Tokens) -> Joint:
        if self.modal_types is not None:
            text = text and self._of_modality(text, self.modal_types.weight[0])
            image = self._of_modality(image, self.modal_types.weight[1:].squeeze(0))
        joint = join(text, image)
        values, bias = joint.values, attention_bias(joint.mask, joint.values.dtype)
        for block in self.blocks:
            values = block(values, bias)
        if self.norm is not None:
            values = self.norm(values)
        return split(Tokens(values=values, mask=joint.mask), text.values.shape[1] if text else 0)

    def _of_modality(self, tokens: Tokens, types: Tensor) -> Tokens:
        return Tokens(values=tokens.values + in_turn(types, len(tokens.values)), mask=tokens.mask)

"""The single-stream interaction of text and image."""

from __future__ import annotations

from torch import Tensor, nn

from vlbench.architectures.blocks import Block, attention_bias
from vlbench.architectures.interfaces import Joint, Tokens, alternating, join, split
from vlbench.specs import SingleStreamSpec


class SingleStream(nn.Module):
    """One transformer over the text and image tokens side by side (UNITER, section 3.1; ViLT, section 3.1).

    Args:
        spec: describes it.
        images: of an example. The images of a pair alternate in a batch; each of the two has a modal type of its own.
    """

    def __init__(self, spec: SingleStreamSpec, *, images: int = 1) -> None:
        super().__init__()
        self.modal_types = nn.Embedding(1 + images, spec.width) if spec.modal_types else None
        self.blocks = nn.ModuleList(
            Block(
                width=spec.width,
                heads=spec.heads,
                mlp_width=spec.mlp_width,
                norm=spec.norm,
                dropout=spec.dropout,
                layer_norm_eps=spec.layer_norm_eps,
            )
            for _ in range(spec.layers)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.layer_norm_eps) if spec.norm == "pre" else None

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
        return Tokens(values=tokens.values + alternating(types, len(tokens.values)), mask=tokens.mask)

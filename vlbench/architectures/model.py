"""`VLModel`, the one interface, and `build(spec)`."""

from __future__ import annotations

from types import ModuleType

from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures import clip, dual_stream, heads, interaction, patch, similarity, text
from vlbench.architectures.initialise import initialise_random, without_default_weights
from vlbench.architectures.tokens import Images, Text
from vlbench.architectures.visual import VisualEmbedder
from vlbench.specs.visual import VisualPart


class VLModel(nn.Module):
    """A vision-and-language model in four stages, each a module: `text`, `visual`, `interaction`, `head`.

    Args:
        text: text embedder, or None for a model of images alone.
        visual: visual embedder; its own modules are the stages `visual.patch`, `visual.backbone` and so on.
        interaction: takes both kinds of tokens, gives joint tokens, or a score of each pair of text and image.
        head: takes joint tokens, gives logits or features; None behind an interaction that gives scores.
    """

    def __init__(
        self, *, text: nn.Module | None, visual: VisualEmbedder, interaction: nn.Module, head: nn.Module | None
    ) -> None:
        super().__init__()
        self.text = text
        self.visual = visual
        self.interaction = interaction
        self.head = head

    def forward(self, text: Text | None, images: Images) -> Tensor:
        """Logits, features or scores of a batch. Raises ValueError where the model reads text and `text` is None."""
        text_tokens = None
        if self.text is not None:
            if text is None:
                raise ValueError("this model reads text; text is None")
            text_tokens = self.text(text)
        met = self.interaction(text_tokens, self.visual(images))
        return met if self.head is None else self.head(met)

    def stages(self) -> dict[str, nn.Module]:
        """Stages and, as `visual.NAME`, the steps within the visual embedder, in the order of the forward pass."""
        named = {name: getattr(self, name) for name in ("text", "visual", "interaction", "head")}
        steps = {f"visual.{name}": step for name, step in self.visual.named_children() if name in VISUAL_STEPS}
        order = {"text": named["text"], "visual": named["visual"], **steps}
        order |= {name: named[name] for name in ("interaction", "head")}
        return {name: module for name, module in order.items() if module is not None}

    @property
    def load(self) -> dict[str, int]:
        """What the last forward pass carried through a detector; empty for other models."""
        return dict(self.visual.load)

    def declared_load(self, images: Images) -> dict[str, int]:
        """What it must carry; empty for models without a detector."""
        return self.visual.declared_load(images)


VISUAL_STEPS = ("patch", "backbone", "fpn", "rpn", "roi_head", "nms", "transformer", "projection")


def build(spec: specs.ModelSpec) -> VLModel:
    """Builds a model with random weights under the spec's seed; within `torch.device("meta")` without any memory."""
    with without_default_weights():
        model = VLModel(
            text=_TEXTS[spec.text.kind](**spec.text.arguments()) if spec.text else None,
            visual=_visual(spec.visual),
            interaction=_INTERACTIONS[spec.interaction.kind](**spec.interaction.arguments()),
            head=_HEADS[spec.head.kind](**spec.head.arguments()) if spec.head else None,
        )
    initialise_random(model, spec.seed)
    return model


_TEXTS: dict[str, type[nn.Module]] = {
    "bert_embeddings": text.BertEmbeddings,
    "gru": text.Gru,
    "text_transformer": clip.TextTransformer,
}
_INTERACTIONS: dict[str, type[nn.Module]] = {
    "single_stream": interaction.SingleStream,
    "co_attention": dual_stream.CoAttention,
    "cross_modality": dual_stream.CrossModality,
    "dot_product": similarity.DotProduct,
    "stacked_cross_attention": similarity.StackedCrossAttention,
}
_HEADS: dict[str, type[nn.Module]] = {
    "pooled_feature": heads.PooledFeature,
    "itm": heads.ImageTextMatching,
    "itm_product": heads.PooledProduct,
    "vqa": heads.VisualQuestionAnswering,
}


_VISUALS: dict[str, type[VisualEmbedder]] = {"patch": patch.PatchEmbedder, "vision_transformer": clip.VisionTransformer}


def _visual(spec: VisualPart) -> VisualEmbedder:
    if spec.kind in _VISUALS:
        return _VISUALS[spec.kind](**spec.arguments())
    return _convolutional().build_convolutional(spec)


def import_for(visual_kind: str) -> None:
    """Imports all that `build` needs for such an embedder, so that processes forked from this one need not."""
    if visual_kind not in _VISUALS:
        _convolutional()


def _convolutional() -> ModuleType:
    from vlbench.architectures import convolutional  # noqa: PLC0415  it imports torchvision, as slow as PyTorch

    return convolutional

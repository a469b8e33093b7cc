"""`VLModel`, the one interface, and `build(spec)`."""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, overload

from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures import clip, dual_stream, heads, interaction, pair_heads, patch, similarity, text
from vlbench.architectures.initialise import initialise_random, on_meta, without_default_weights
from vlbench.architectures.tokens import Images, RegionFeatures, Text, Tokens, in_one_row, repeated
from vlbench.architectures.visual import VisualEmbedder
from vlbench.errors import InputError
from vlbench.specs.visual import VisualPart

if TYPE_CHECKING:
    from vlbench.architectures.huggingface import HuggingFaceModel

AnyModel: TypeAlias = "VLModel | HuggingFaceModel"
TRANSFORMERS = "transformers:"


class VLModel(nn.Module):
    """A vision-and-language model in four stages, each a module: `text`, `visual`, `interaction`, `head`.

    Args:
        text: text embedder, or None for a model of images alone.
        visual: visual embedder; its own modules are the stages `visual.patch`, `visual.backbone` and so on.
        interaction: takes both kinds of tokens, gives joint tokens, or a score of each pair of text and image.
        head: takes joint tokens, gives logits or features; None behind an interaction that gives scores.

    Behind a head of pairs (`pair_heads`) a batch of B texts has 2B images, the left and the right of each in turn.
    """

    def __init__(
        self, *, text: nn.Module | None, visual: VisualEmbedder, interaction: nn.Module, head: nn.Module | None
    ) -> None:
        super().__init__()
        self.text = text
        self.visual = visual
        self.interaction = interaction
        self.head = head
        self.unfilled: tuple[str, ...] = ()  # tensors that the checkpoint of the whole model says nothing of

    def forward(self, text: Text | None, images: Images | RegionFeatures) -> Tensor:
        """Logits, features or scores of a batch, a row an example.

        Regions in place of pixels reach the projection without a detector. Raises ValueError where the model reads text
        and `text` is None, or where it has no use for regions.
        """
        text_tokens = self.embed_text(text)
        return self.meet(text_tokens, self.visual(images))

    def embed_text(self, text: Text | None) -> Tokens | None:
        """None of a model of images alone. Raises ValueError where the model reads text and `text` is None."""
        if self.text is None:
            return None
        if text is None:
            raise ValueError("this model reads text; text is None")
        embedded: Tokens = self.text(text)
        return embedded

    def meet(self, text_tokens: Tokens | None, image_tokens: Tokens) -> Tensor:
        """What `forward` gives, from what `embed_text` and `visual` gave; one image can so meet many texts."""
        if isinstance(self.head, pair_heads.TogetherPair):
            image_tokens = in_one_row(image_tokens, 2)
        elif isinstance(self.head, APART) and text_tokens is not None:
            text_tokens = repeated(text_tokens, 2)
        met = self.interaction(text_tokens, image_tokens)
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

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """What it must carry; empty for models without a detector."""
        return self.visual.declared_load(images)


APART = (pair_heads.PairClassifier, pair_heads.LinearPair, pair_heads.AttentivePair)
VISUAL_STEPS = ("patch", "backbone", "fpn", "rpn", "roi_head", "nms", "transformer", "projection")


@overload
def build(spec: specs.ModelSpec) -> VLModel: ...
@overload
def build(spec: specs.HuggingFaceSpec) -> HuggingFaceModel: ...
def build(spec: specs.AnySpec) -> AnyModel:
    """Builds a model, its weights random under the spec's seed but where a checkpoint fills them.

    Within `torch.device("meta")` it takes no memory and reads no checkpoint. Raises InputError as `load_weights` does,
    and where a class of transformers, its config or its weights do not fit.
    """
    if isinstance(spec, specs.HuggingFaceSpec):
        return _huggingface().build_huggingface(spec)
    with without_default_weights():
        model = VLModel(
            text=_TEXTS[spec.text.kind](**spec.text.arguments()) if spec.text else None,
            visual=_visual(spec.visual, spec.images),
            interaction=_interaction(spec),
            head=_HEADS[spec.head.kind](**spec.head.arguments()) if spec.head else None,
        )
    initialise_random(model, spec.seed)
    if isinstance(spec.visual, specs.Region):
        model.visual = _convolutional().through_engine(spec.visual, model.visual)
    if {spec.weights, spec.visual.weights} != {specs.RANDOM} and not on_meta(model):
        from vlbench.architectures.checkpoints import loading  # noqa: PLC0415  its readers are slow to import

        loading.load_visual_weights(model, spec)
        loaded = loading.load_weights(model, spec)
        model.unfilled = loaded.untouched if loaded else ()
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
    "rank": heads.Ranking,
    "vqa": heads.VisualQuestionAnswering,
    "vqa_linear": heads.LinearAnswers,
    "vqa_product": heads.ProductAnswers,
    "pair": pair_heads.PairClassifier,
    "pair_linear": pair_heads.LinearPair,
    "pair_attention": pair_heads.AttentivePair,
    "pair_together": pair_heads.TogetherPair,
}


_VISUALS: dict[str, type[VisualEmbedder]] = {"patch": patch.PatchEmbedder, "vision_transformer": clip.VisionTransformer}


def _interaction(spec: specs.ModelSpec) -> nn.Module:
    arguments = spec.interaction.arguments()
    if isinstance(spec.interaction, specs.SingleStream):
        arguments["image_types"] = spec.images
    return _INTERACTIONS[spec.interaction.kind](**arguments)


def _visual(spec: VisualPart, images: int) -> VisualEmbedder:
    if spec.kind in _VISUALS:
        return _VISUALS[spec.kind](**spec.arguments())
    return _convolutional().build_convolutional(spec, images)


def import_for(kind: str) -> None:
    """Imports all that `build` needs for such an embedder, so that processes forked from this one need not.

    An engine counts as a kind of its own, and so does a class of transformers, behind TRANSFORMERS. Where an engine is
    absent nothing is said: `build` will.
    """
    if kind.startswith(TRANSFORMERS):
        _huggingface().import_class(kind.removeprefix(TRANSFORMERS))
    elif kind == "detectron2":
        with suppress(InputError):
            _convolutional().detectron2_engine()
    elif kind not in _VISUALS:
        _convolutional()


def _convolutional() -> ModuleType:
    from vlbench.architectures import convolutional  # noqa: PLC0415  it imports torchvision, as slow as PyTorch

    return convolutional


def _huggingface() -> ModuleType:
    from vlbench.architectures import huggingface  # noqa: PLC0415  it imports transformers, as slow as PyTorch

    return huggingface

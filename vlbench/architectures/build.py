"""`build(spec)`: from the description of a model to the model."""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias, overload

from torch import nn

from vlbench import specs
from vlbench.architectures import clip, dual_stream, heads, interaction, pair_heads, patch, similarity, text
from vlbench.architectures.initialise import initialise_random, on_meta, without_default_weights
from vlbench.architectures.interfaces import VisualEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs.visual import VisualPart

if TYPE_CHECKING:
    from vlbench.architectures.huggingface import HuggingFaceModel

AnyModel: TypeAlias = "VLModel | HuggingFaceModel"
TRANSFORMERS = "transformers:"


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
    if isinstance(spec.visual, specs.RegionSpec):
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
    if isinstance(spec.interaction, specs.SingleStreamSpec):
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
    from vlbench.architectures import build_cnn  # noqa: PLC0415  it imports torchvision, as slow as PyTorch

    return build_cnn


def _huggingface() -> ModuleType:
    from vlbench.architectures import huggingface  # noqa: PLC0415  it imports transformers, as slow as PyTorch

    return huggingface

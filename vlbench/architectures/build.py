"""`build(spec)`: from the description of a model to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, overload

import torch

from vlbench import specs
from vlbench.architectures.initialise import check_memory, initialise_random, on_meta, without_default_weights
from vlbench.architectures.interfaces import VisualEmbedder
from vlbench.architectures.registry import implementation
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import SpecError
from vlbench.specs.base import cannot_import

if TYPE_CHECKING:
    from vlbench.architectures.huggingface import HuggingFaceModel
    from vlbench.architectures.module_model import ModuleModel

TaskModel: TypeAlias = "VLModel | HuggingFaceModel"  # it answers tasks
AnyModel: TypeAlias = "TaskModel | ModuleModel"


@overload
def build(spec: specs.ModelSpec) -> VLModel: ...
@overload
def build(spec: specs.HuggingFaceSpec) -> HuggingFaceModel: ...
@overload
def build(spec: specs.ModuleSpec) -> ModuleModel: ...
def build(spec: specs.AnySpec) -> AnyModel:
    """Builds a model; its weights are random under the spec's seed, except those that a checkpoint fills.

    Within `torch.device("meta")` it takes no memory and reads no checkpoint. Raises InputError as `load_weights` does,
    for a kind of part that nothing implements, for weights that do not fit into memory, and where a class of
    transformers, its config or its weights do not fit.
    """
    if not isinstance(spec, specs.ModelSpec):
        kind = "module" if isinstance(spec, specs.ModuleSpec) else "transformers"
        return implementation(kind)(spec)  # type: ignore[no-any-return]
    if torch.get_default_device().type != "meta":
        with torch.device("meta"):
            check_memory(spec.name, _uninitialised(spec))
    model = _uninitialised(spec)
    initialise_random(model, spec.seed)
    if isinstance(spec.visual, specs.RegionSpec):
        model.visual = through_engine(spec.visual, model.visual)
    if {spec.weights, spec.visual.weights} != {specs.RANDOM} and not on_meta(model):
        from vlbench.architectures.checkpoints import loading  # noqa: PLC0415  its readers are slow to import

        loading.load_visual_weights(model, spec)
        loaded = loading.load_weights(model, spec)
        model.missing_keys = loaded.untouched if loaded else ()
    return model


def _uninitialised(spec: specs.ModelSpec) -> VLModel:
    with without_default_weights():
        return VLModel(
            text=_part(spec.text),
            visual=_part(spec.visual, spec.images),
            interaction=_part(spec.interaction, spec.images),
            head=_part(spec.head),
        )


def _part(part: Any, images: int = 1) -> Any:
    """The module of a part, its weights not yet filled. `images` is how many an example has."""
    if part is None:
        return None
    options = {"images": images} if part.takes_images else {}
    return implementation(part.kind)(part, **options)


def through_engine(spec: specs.RegionSpec, visual: VisualEmbedder) -> VisualEmbedder:
    """The same visual embedder in the layers of the spec's engine, with the same weights.

    Raises InputError where the engine is not installed or cannot run such a detector.
    """
    if spec.engine == "torchvision":
        return visual
    stages = len(spec.backbone.blocks)
    if spec.fpn and stages != 4:
        raise SpecError(f"engine detectron2: its pyramid needs res2 to res5, but backbone.blocks has {stages} stages")
    try:
        embedder = implementation(spec.engine)
    except ImportError as error:
        raise cannot_import("", str(error)) from error
    return embedder.like(spec, visual)  # type: ignore[no-any-return]

"""The model that a command names, if it is one that can be explained."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.errors import InputError, nearest
from vlbench.specs import AnySpec, HuggingFaceSpec, ModelSpec
from vlbench.specs.catalog import catalog, resolve
from vlbench.specs.weights import with_weights


def explainable_model(name: str, weights: Sequence[str] = ()) -> ModelSpec:
    """The one model of this name, with its weights: each SOURCE, MODEL=SOURCE or MODEL.visual=SOURCE.

    A model that samples pixels gets all of them, so that each token has a known position in the photo.

    Raises InputError where the name fits no model or several, or one that cannot be explained.
    """
    try:
        specs = resolve(name)
    except InputError as error:
        raise InputError(str(error).replace("--models", "--model", 1)) from error
    if len(specs) > 1:
        names = " and ".join(spec.name for spec in specs[:2])
        raise InputError(f"--model {name}: {len(specs)} models, {names} among them; name one")
    (spec,) = specs
    reason = why_not(spec)
    if reason or not isinstance(spec, ModelSpec):
        known = [other.name for other in catalog().values() if not why_not(other) and "table6" not in other.name]
        raise InputError(
            f"--model {name}: {reason}; these can be explained: {nearest('', known).removeprefix('known: ')}"
        )
    sources = [source if "=" in source else f"{spec.name}={source}" for source in weights]
    (filled,) = with_weights([spec], sources)
    assert isinstance(filled, ModelSpec)
    return filled.model_copy(update={"visual": filled.visual.without_sampling()})


def why_not(spec: AnySpec) -> str:
    """Why a model cannot be explained; empty where it can."""
    if not isinstance(spec, ModelSpec):
        library = "transformers" if isinstance(spec, HuggingFaceSpec) else "others"
        return f"models of {library} do not expose their attention"
    if spec.text is None:
        return "it reads no text"
    if spec.interaction.scores:
        return f"its text and image meet in a score ({spec.interaction.kind}), not in attention"
    return ""

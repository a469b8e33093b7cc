"""Which model to look into, and whether there is something in it to look at."""

from __future__ import annotations

from collections.abc import Sequence

from vlbench.errors import InputError
from vlbench.specs import AnySpec, Grid, HuggingFaceSpec, ModelSpec
from vlbench.specs.catalog import catalog, resolve
from vlbench.specs.weights import with_weights


def model_named(name: str, weights: Sequence[str] = ()) -> ModelSpec:
    """The one model that a name means, with its weights, each SOURCE, MODEL=SOURCE or MODEL.visual=SOURCE.

    Its pixels are not sampled: where a random few are kept, nobody could say where these lie.

    Raises InputError where it is none or several, or cannot be explained.
    """
    try:
        found = resolve(name)
    except InputError as error:
        raise InputError(str(error).replace("--models", "--model", 1)) from error
    if len(found) > 1:
        names = " and ".join(spec.name for spec in found[:2])
        raise InputError(f"--model {name}: {len(found)} models, {names} among them; one at a time is explained")
    (spec,) = found
    reason = why_not(spec)
    if reason or not isinstance(spec, ModelSpec):
        known = ", ".join(one.name for one in catalog().values() if not why_not(one) and "table6" not in one.name)
        raise InputError(f"--model {name}: {reason}; these can be explained: {known}")
    named = [one if "=" in one else f"{spec.name}={one}" for one in weights]
    (filled,) = with_weights([spec], named)
    assert isinstance(filled, ModelSpec)
    if isinstance(filled.visual, Grid) and filled.visual.sample == "always":
        whole = filled.visual.model_copy(update={"sample": "training"})
        return filled.model_copy(update={"visual": whole})
    return filled


def why_not(spec: AnySpec) -> str:
    """Why a model cannot be explained; empty where it can."""
    if isinstance(spec, HuggingFaceSpec):
        return "transformers keeps its attention to itself"
    if spec.text is None:
        return "it reads no text"
    if spec.interaction.scores:
        return f"its text and image meet in a score ({spec.interaction.kind}), not in tokens that attend to each other"
    return ""

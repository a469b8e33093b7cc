"""Files that vlbench writes: a model's tensors under their names here, and the spec that it was built from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from vlbench.architectures.checkpoints.reading import read_layout, read_metadata
from vlbench.architectures.checkpoints.rules import State, refuse_gaps, refuse_shapes, refuse_values
from vlbench.architectures.interfaces import VisualEmbedder
from vlbench.errors import InputError
from vlbench.files.writing import replacing
from vlbench.specs import ModelSpec
from vlbench.specs.heads import HeadPart

SPEC, NAME, EXTRA_STATE = "vlbench.spec", "vlbench.model", "vlbench.visual.traits"  # keys of the file's metadata
PARTS = ("text", "visual", "interaction", "head")
HEADS = "heads."  # before the tensors of further heads, each by its kind: `heads.itm.pooler.dense.weight`
OF_TRAINING = {"dropout", "weights"}  # fields of a part that change no output of a trained model


def save_model(path: Path, model: nn.Module, spec: ModelSpec, heads: State | None = None) -> None:
    """Writes a model as safetensors, for `weights:` of a spec with the same parts, or for `visual.weights:`.

    The metadata hold the spec and `VisualEmbedder.extra_state`. Raises InputError if the file cannot be written.

    Args:
        heads: tensors of further heads, by their kind and name, such as `itm.classifier.weight`.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    named = model.state_dict() | {f"{HEADS}{name}": tensor for name, tensor in (heads or {}).items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    described = {NAME: spec.name, SPEC: spec.model_dump_json()}
    visual = getattr(model, "visual", None)
    if isinstance(visual, VisualEmbedder) and visual.extra_state():
        described[EXTRA_STATE] = " ".join(visual.extra_state())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            save_file(tensors, unfinished, metadata=described)
    except (OSError, SafetensorError) as error:
        if isinstance(error, SafetensorError) and "I/O error" not in str(error):
            raise
        raise InputError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from error


def saved_spec(source: str) -> ModelSpec | None:
    """The spec in a file that vlbench wrote; None for any other checkpoint. Raises InputError as `read_state` does."""
    described = read_metadata(source).get(SPEC)
    if described is None:
        return None
    try:
        return ModelSpec.model_validate_json(described)
    except ValidationError as error:
        raise InputError(f"weights {source}: its spec is none of this version of vlbench") from error


def saved_extra_state(source: str) -> tuple[str, ...]:
    """`VisualEmbedder.extra_state` in a file that vlbench wrote. Raises InputError as `read_state` does."""
    return tuple(read_metadata(source).get(EXTRA_STATE, "").split())


def saved_heads(source: str, saved: ModelSpec) -> tuple[HeadPart, ...]:
    """The heads in a file that vlbench wrote, each once, first that of its spec. Raises InputError as `read_state`."""
    kinds = {name.split(".")[1] for name in read_layout(source) if name.startswith(HEADS)}
    further = [head for head in saved.heads.declared().values() if head.kind in kinds]
    return tuple(dict.fromkeys([saved.head, *further] if saved.head else further))


def as_saved_with(
    head: HeadPart | None, saved: ModelSpec, state: dict[str, Tensor]
) -> tuple[ModelSpec, dict[str, Tensor]]:
    """The spec and the tensors of a file that vlbench wrote, as if it had been saved with this of its heads alone.

    With its own head if it holds none of this kind.
    """
    kind = getattr(head, "kind", None)
    prefix = f"{HEADS}{kind}."
    body = {name: tensor for name, tensor in state.items() if not name.startswith(HEADS)}
    if saved.head is None or saved.head.kind == kind or not any(name.startswith(prefix) for name in state):
        return saved, body
    other = next((each for each in saved.heads.declared().values() if each.kind == kind), None)
    if other is None:
        return saved, body
    body = {name: tensor for name, tensor in body.items() if not name.startswith("head.")}
    chosen = {f"head.{name.removeprefix(prefix)}": tensor for name, tensor in state.items() if name.startswith(prefix)}
    return saved.model_copy(update={"head": other}), body | chosen


def match_saved(
    state: State,
    expected: Mapping[str, Tensor],
    saved: ModelSpec,
    spec: ModelSpec,
    *,
    source: str,
    within: tuple[str, ...] = PARTS,
) -> State:
    """The tensors of a file that vlbench wrote, checked against the model's: the same names and shapes.

    Raises InputError, with the first field that differs, if its parts are others.

    Args:
        state, expected: tensors by name, of the file and of the model.
        saved, spec: what the model of the file was built from, and this one.
        source: of the file, for messages.
        within: dotted names of the parts that must be equal.
    """
    for path, theirs, ours in _differences(saved, spec, within):
        raise InputError(f"weights {source}: saved from {saved.name}, whose {path} is {theirs}; here it is {ours}")
    title, filled = f"saved from {saved.name}", {name: state[name] for name in expected if name in state}
    refuse_shapes(title, source, filled, expected)
    refuse_values(title, source, {name: state[name] for name in filled if expected[name].is_floating_point()})
    missing, unused = (
        [name for name in each if name not in other] for each, other in ((expected, state), (state, expected))
    )
    refuse_gaps(title, source, missing, unused)
    return state


def _differences(saved: ModelSpec, spec: ModelSpec, within: tuple[str, ...]) -> Iterator[tuple[str, Any, Any]]:
    """The fields of the parts that differ, by their dotted names."""
    sides = [dict(_leaves(each.model_dump(include=set(PARTS)))) for each in (saved, spec)]
    for path in dict.fromkeys([*sides[0], *sides[1]]):
        theirs, ours = (side.get(path, "absent") for side in sides)
        if theirs != ours and path.startswith(within):
            yield path, theirs, ours


def _leaves(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key not in OF_TRAINING and value is not None:
            yield f"{prefix}{key}", value

"""Fills a model from the checkpoints that its spec names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from torch import Tensor, nn

from vlbench.architectures.checkpoints.bottom_up import fill_bottom_up
from vlbench.architectures.checkpoints.clip import CLIP_FAMILIES
from vlbench.architectures.checkpoints.config import config_values, refuse_other_settings, value_at
from vlbench.architectures.checkpoints.lxmert import LXMERT_FAMILIES
from vlbench.architectures.checkpoints.native import (
    as_saved_with,
    match_saved,
    saved_extra_state,
    saved_heads,
    saved_spec,
)
from vlbench.architectures.checkpoints.reading import PREFIXES, read_layout, read_state
from vlbench.architectures.checkpoints.rules import Family, State, mapped, recognised
from vlbench.architectures.checkpoints.timm import load_timm
from vlbench.architectures.checkpoints.timm_backbone import load_backbone, load_fetched
from vlbench.architectures.checkpoints.uniter import UNITER_FAMILIES
from vlbench.architectures.checkpoints.vilt import VILT_FAMILIES
from vlbench.architectures.checkpoints.visualbert import VISUALBERT_FAMILIES
from vlbench.errors import InputError, quoted
from vlbench.specs import RANDOM, Input, ModelSpec, RegionSpec, TimmSpec
from vlbench.specs.heads import SUITABLE, HeadPart
from vlbench.specs.weights import is_fetched, weights_file

if TYPE_CHECKING:
    from vlbench.architectures.vl_model import VLModel

VISUAL = ("visual.",)
DETECTOR = ("visual.backbone.", "visual.fpn.", "visual.rpn.", "visual.roi_head.")
BEFORE_PROJECTION = ("visual.kind", *DETECTOR)  # what has to be alike where a detector alone is filled

FAMILIES: tuple[Family, ...] = (
    *VILT_FAMILIES,
    *UNITER_FAMILIES,
    *VISUALBERT_FAMILIES,
    *LXMERT_FAMILIES,
    *CLIP_FAMILIES,
)

# Fills a backbone, detector or tower from a checkpoint that it recognises, and gives its title; else None.
VisualLoader = Callable[["VLModel", State, str, Input], str | None]


def _of_timm(model: VLModel, state: State, source: str, pixels: Input) -> str | None:
    return load_timm(model, state, source)


def _of_bottom_up(model: VLModel, state: State, source: str, pixels: Input) -> str | None:
    return fill_bottom_up(model, state, source, pixels=pixels)


VISUAL_LOADERS: tuple[VisualLoader, ...] = (_of_timm, _of_bottom_up)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a checkpoint is.

    Attributes:
        title: the published model, and whose names its tensors have.
        untouched: our tensors that it says nothing of, by name; they keep what they had.
    """

    title: str
    untouched: tuple[str, ...] = ()


def load_weights(model: VLModel, spec: ModelSpec) -> Loaded | None:
    """Fills the whole model from `spec.weights`; does nothing and gives None if these are `random`.

    The detector of a region model stays as `spec.visual.weights` left it, unless vlbench wrote the file. Raises
    InputError, in one line, where the checkpoint cannot be read or is of another architecture, or where its tensors and
    ours do not pair off.
    """
    source = spec.weights
    if source == RANDOM:
        return None
    expected = model.state_dict()
    saved, state = saved_spec(source), read_state(source)
    if saved is not None:
        saved, state = as_saved_with(spec.head, saved, state)
        model.load_state_dict(match_saved(state, expected, saved, spec, source=source))
        _load_flags(model, source)
        return Loaded(title=saved.name)
    if isinstance(spec.visual, RegionSpec):
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith(DETECTOR)}
    family = family_of(state, expected, spec, source=source, weights=weights_file(source))
    tensors = mapped(family, state, expected, source=source)
    model.load_state_dict(tensors, strict=False)  # `mapped` was strict about what the family fills
    for module in model.interaction.modules():
        if isinstance(module, nn.LayerNorm) and family.trained_eps is not None:
            module.eps = family.trained_eps
    return Loaded(title=family.title, untouched=tuple(name for name in expected if name not in tensors))


def load_visual_weights(model: VLModel, spec: ModelSpec) -> Loaded | None:
    """Fills the backbone, detector or tower from `spec.visual.weights`; otherwise as `load_weights`.

    Of a file that vlbench wrote it takes the detector, or the whole visual part where there is none.
    """
    source = spec.visual.weights
    if source == RANDOM:
        return None
    backbone: Any = getattr(model.visual, "backbone", None)
    if is_fetched(spec, source, visual=True):
        return Loaded(title=load_fetched(backbone))
    saved, state = saved_spec(source), read_state(source)
    if saved is not None:
        return _load_saved_visual(model, state, saved, spec)
    if isinstance(spec.visual, TimmSpec):
        settings = config_values(("timm_backbone",), weights_file(source))
        refuse_other_settings(settings, spec, source=source)
        return Loaded(title=load_backbone(backbone, state, source=source))
    settings = config_values(("timm",), weights_file(source))
    for loader in VISUAL_LOADERS:
        title = loader(model, state, source, spec.input)
        if title is not None:
            refuse_other_settings(settings, spec, source=source)
            return Loaded(title=title)
    raise InputError(f"weights {source}: {_looks(state)}, not the visual part of {spec.name}")


def _load_flags(model: VLModel, source: str) -> None:
    """Raises InputError where the visual part does not have a flag that the file has."""
    flags = saved_extra_state(source)
    model.visual.load_extra_state(flags)
    if unknown := set(flags) - set(model.visual.extra_state()):
        raise InputError(f"weights {source}: {quoted(min(unknown))} is no flag of this version's visual part")


def _load_saved_visual(model: VLModel, state: State, saved: ModelSpec, spec: ModelSpec) -> Loaded:
    source, region = spec.visual.weights, isinstance(spec.visual, RegionSpec)
    names, within = (DETECTOR, BEFORE_PROJECTION) if region else (VISUAL, VISUAL)
    expected = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(names)}
    saved_tensors = {name: tensor for name, tensor in state.items() if name.startswith(names)}
    model.load_state_dict(match_saved(saved_tensors, expected, saved, spec, source=source, within=within), strict=False)
    _load_flags(model, source)
    return Loaded(title=saved.name)


def family_of(
    state: State,
    expected: Mapping[str, Tensor],
    spec: ModelSpec,
    *,
    source: str,
    families: tuple[Family, ...] = FAMILIES,
    weights: Path | None = None,
) -> Family:
    """The published names that a checkpoint has, of those that fill such a model and its head.

    Raises InputError that says what the checkpoint looks like, if it is none of them, or that names a field of the
    model file that contradicts it, or the config next to `weights`, its file.
    """
    candidates = list(recognised(families, state))
    body = [name for name in expected if not name.startswith("head.")]
    fitting = [family for family in candidates if all(map(family.knows, body))]
    if not fitting:
        raise InputError(f"weights {source}: {_looks(state, candidates)}, not {spec.name}")
    kind = spec.head.kind if spec.head else ""
    suited = [
        family for family in fitting if (not family.heads or kind in family.heads) and all(map(family.knows, expected))
    ]
    if not suited:
        heads = " or ".join(dict.fromkeys(head for family in fitting for head in family.heads))
        other = f"whose head is {heads or 'another'}, not {kind} as that of {spec.name}"
        raise InputError(f"weights {source}: {fitting[0].title}, {other}; a model file with such a head fits")
    settings = config_values(suited[0].configs, weights) if weights else []
    refuse_other_settings(settings, spec, source=source)
    known = {path for value in settings for path in value.setting.ours}
    for path, theirs, ours in _contradictions(suited[0], spec, known):
        other = f"where {path} is {theirs}, not {ours} as in {spec.name}"
        raise InputError(f"weights {source}: {suited[0].title}, {other}")
    return suited[0]


def saved_head_kinds(spec: ModelSpec) -> tuple[str, ...]:
    """The kinds of head that `spec.weights` hold; empty if these are random or hold no head.

    Raises InputError where they cannot be read.
    """
    if spec.weights == RANDOM:
        return ()
    saved = saved_spec(spec.weights)
    if saved is not None:
        return tuple(head.kind for head in saved_heads(spec.weights, saved))
    return tuple(family.heads[0] for family in _of_one_head(read_layout(spec.weights)))


def with_saved_head(spec: ModelSpec) -> ModelSpec:
    """A copy whose head is the one that `spec.weights` hold, where that answers the same kind of task.

    UNITER for NLVR2, say, was released with two kinds of head for pairs. The spec itself where it has random weights,
    its head is already of that kind, or they hold none that answers. Raises InputError where they cannot be read.
    """
    if spec.weights == RANDOM or spec.head is None:
        return spec
    suitable = [heads for heads in SUITABLE.values() if isinstance(spec.head, heads.parts)]
    alike = {kind for heads in suitable for kind in heads.part_kinds}
    saved = saved_spec(spec.weights)
    if saved is not None:
        heads = saved_heads(spec.weights, saved)
        other = next((head for head in heads if head.kind in alike), None)
        is_there = other is None or any(head.kind == spec.head.kind for head in heads)
        return spec if is_there else spec.model_copy(update={"head": other})
    state = read_layout(spec.weights)
    families = _of_one_head(state)
    if any(spec.head.kind in family.heads for family in families):
        return spec
    family = next((family for family in families if family.heads[0] in alike), None)
    return spec if family is None else spec.model_copy(update={"head": _head(family, state, spec)})


def with_whatever_head(spec: ModelSpec) -> ModelSpec:
    """A copy with the head that `spec.weights` hold, whatever its task and its number of answers.

    The spec itself where it has random weights, or where they hold none. Raises InputError where they cannot be read.
    """
    if spec.weights == RANDOM:
        return spec
    saved = saved_spec(spec.weights)
    if saved is not None:
        return spec.model_copy(update={"head": saved.head}) if saved.head else spec
    state = read_state(spec.weights)
    families = _of_one_head(state)
    alike = [family for family in families if spec.head and family.heads[0] == spec.head.kind]
    family = next(iter([*alike, *families]), None)
    return spec if family is None else spec.model_copy(update={"head": _head(family, state, spec)})


def _of_one_head(state: State) -> list[Family]:
    """The families that have these names and fill one kind of head."""
    return [family for family in recognised(FAMILIES, state) if len(family.heads) == 1]


def _head(family: Family, state: State, spec: ModelSpec) -> Any:
    """The head that the family implies, in the sizes of the spec and of the tensors."""
    (kind,) = family.heads
    fields = {path.removeprefix("head."): value for path, value in family.implies.items() if path.startswith("head.")}
    fields |= {"kind": kind, "width": getattr(spec.head, "width", None)}
    if kind == "pair_attention":
        fields["heads"] = getattr(spec.interaction, "heads", None)
    bias = family.theirs("head.classifier.bias")
    if kind in ("vqa", "vqa_linear") and bias:
        fields["answers"] = len(state[bias[0]])
    return TypeAdapter(HeadPart).validate_python(fields)


def _looks(state: State, candidates: list[Family] | None = None) -> str:
    """What a checkpoint looks like, by its names."""
    titles = [family.title for family in candidates or recognised(FAMILIES, state)]
    if titles:
        return f"looks like {titles[0]}"
    why = f"its first tensor is {next(iter(state))}" if state else "it holds no tensor"
    if prefixes := sorted({f"{name.partition('.')[0]}." for name in state} & set(PREFIXES)):
        why = f"only some of its names begin with {' or '.join(prefixes)}; the names of one model work"
    return f"of no architecture known here ({why})"


def _contradictions(family: Family, spec: ModelSpec, known: Set[str]) -> Iterator[tuple[str, Any, Any]]:
    """Fields that differ from what the family implies, but for those of which a config says more."""
    for path, theirs in family.implies.items():
        ours = value_at(spec, path)
        if path == "interaction.layer_norm_eps" and ours == family.trained_eps:
            continue
        if ours != theirs and path not in known and not (path.startswith("head.") and ours is None):
            yield path, theirs, ours

"""A model file for a class of transformers: its inputs, its output, and which of its modules are which stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from vlbench.errors import quoted
from vlbench.specs.base import RANDOM
from vlbench.specs.bounds import Amount, Side, Size, Weights
from vlbench.specs.foreign import ForeignSpec, ForeignVisual
from vlbench.specs.heads import SUITABLE, TaskKind
from vlbench.specs.huggingface_parts import (
    Arguments,
    Gives,
    Paths,
    PrecomputedRegions,
    Small,
    StageName,
    TaskModel,
    TokenIds,
)
from vlbench.specs.model import Input, ModelSpec
from vlbench.specs.module import ModuleSpec

DESCRIBED = {"aliases", "source", "note", "archetype"}  # fields that change nothing that is measured
VARIANTS = {"heads", "small"}  # fields that describe other models than the one that is measured
SIZES = {"vocab_size": (4, 10_000_000), "patch_size": (1, 4096)}  # of a config that a tiny model takes over
UNHASHED_DEFAULTS = {"weights": "random", "answers": None}


class HuggingFaceSpec(ForeignSpec):
    """A model file for a class of transformers.

    Args:
        transformers: the class, such as ViltForQuestionAnswering.
        config: arguments of its config class, or a folder or `hub:ID` whose config is taken.
        weights: `random`, a folder or `hub:ID`; with either the config is theirs, and not `config`.
        text: the token ids that it reads.
        features: of regions, where it reads these.
        patch_size: an image's sides must be multiples of it.
        inputs: what the forward pass calls its inputs.
        options: further arguments of every forward pass.
        call: `forward`, or `generate` for a model that answers in words.
        output: the field of its output that is used.
        gives: what that is: `answers`, a logit an answer; `words`, ids of generated tokens; `pairs`, two logits
            (false, true) of a text and two images; `matching`, two logits of a text and an image; `ranking`, one;
            `similarity`, scores of every text with every image.
        answers: how many there are; None as the config has it, whose name for it is `answers_setting`.
        heads: classes for other tasks.
        stages: paths of the modules or methods that a stage is, `*` for any step of a path. What two stages share is
            charged to both, and what none names is `rest`.
        small: what makes the model tiny.
    """

    family: Literal["patch", "grid", "region"]
    weights: Weights = RANDOM
    input: Input
    transformers: str
    config: dict[str, Any] | str = Field({})
    text: TokenIds
    features: PrecomputedRegions | None = None
    patch_size: Side = 1
    inputs: Arguments
    options: dict[str, Any] = Field({})
    call: Literal["forward", "generate"] = "forward"
    output: str = "logits"
    gives: Gives
    answers: Amount | None = None
    answers_setting: str = "num_labels"
    heads: dict[TaskKind, TaskModel] = Field({})
    stages: dict[StageName, Paths]
    small: Small

    @property
    def images(self) -> int:
        """How many images an example has: two for a model of pairs, else one."""
        return 2 if self.gives == "pairs" else 1

    @property
    def weights_label(self) -> str:
        """Where the weights come from, as tables show it."""
        return self.weights

    @property
    def region_channels(self) -> tuple[int, ...]:
        """How many channels the feature of a precomputed region has; empty if the model reads pixels."""
        return (self.features.channels,) if self.features else ()

    @property
    def reads_pixels(self) -> bool:
        """Whether the model reads images, and not precomputed regions."""
        return self.features is None

    @property
    def reads_text_mask(self) -> bool:
        """Whether the model can tell the padding of a text from its words."""
        return self.inputs.mask is not None

    @property
    def generates_text(self) -> bool:
        """Whether the model answers in words that it generates."""
        return self.gives == "words"

    @property
    def ranks_by_logit(self) -> bool:
        """Its logit of match ranks pairs, as in the released BLIP and BridgeTower."""
        return True

    @property
    def visual(self) -> ForeignVisual:
        """Its visual part as other models have it; the modules are those of transformers."""
        return ForeignVisual(patch_size=self.patch_size)

    @model_validator(mode="after")
    def _parts_fit(self) -> HuggingFaceSpec:
        if bool(self.features) != bool(self.inputs.features):
            raise ValueError("inputs.features needs the key 'features', which says how many, and the other way round")
        if "visual" not in self.stages:
            raise ValueError("stages: the key 'visual' is missing")
        if (self.call == "generate") != (self.gives == "words"):
            raise ValueError("call generate gives words, and forward gives anything else")
        self.check_input()
        for key, (least, most) in SIZES.items():
            value = first_value(self.small.config, key)
            if value is not None and size_in(self.small.config, key) is None:
                raise ValueError(f"small.config: {key} is {quoted(value)}, not a number from {least} to {most:,}")
        try:
            self.tiny().check_input()
        except ValueError as error:
            raise ValueError(f"small: {error}") from error
        return self

    def check_input(self) -> None:
        """Raises ValueError if the input does not fit the model."""
        height, width = self.input.image_size
        self.visual.check_image(height, width)
        if not 32 <= min(height, width) <= max(height, width) <= 4096:
            raise ValueError(f"image size {height}x{width}: each side must be from 32 to 4096 pixels")
        if self.input.text_tokens < 2:
            raise ValueError("input.text_tokens is missing; a model of transformers reads a text")
        if self.text.positions and self.input.text_tokens > self.text.positions:
            raise ValueError(f"{self.input.text_tokens} text tokens, but the model has {self.text.positions} positions")

    def with_input(self, *, image_size: Size | None = None, text_tokens: int | None = None) -> HuggingFaceSpec:
        """A copy for another input. Raises ValueError if it does not fit the model."""
        length = {"text_tokens": text_tokens} if text_tokens is not None else {}
        changed = self.input.model_copy(update=length)
        if image_size and image_size != self.input.image_size:
            changed = changed.of_size(image_size)
        copy = self.model_copy(update={"input": changed})
        copy.check_input()
        return copy if copy.input != self.input else self

    def for_task(self, kind: TaskKind, answers: int | None = None) -> HuggingFaceSpec:
        """The model for a task: itself, or one of its `heads`.

        Args:
            kind: `answers`, a choice among answers; `pairs`, a statement of two images; `statement`, of one;
                `ranking`, how well a text and an image fit.
            answers: how many there are.

        Raises ValueError where the model file has no head for it.
        """
        copy = self
        if kind in self.heads:
            other = self.heads[kind]
            changes: dict[str, Any] = {
                "transformers": other.transformers,
                "config": merged(self.config, other.config) if isinstance(self.config, dict) else self.config,
                "options": self.options | other.options,
                "output": other.output,
                "gives": other.gives,
                "stages": self.stages | other.stages,
            }
            copy = self.model_copy(update=changes)
        if copy.gives not in SUITABLE[kind].outputs:
            served = (task for task, heads in SUITABLE.items() if self.gives in heads.outputs)
            known = ", ".join(sorted({*self.heads, *served}))
            raise ValueError(f"{self.name} has no head for {kind}; it has one for {known}")
        return copy.model_copy(update={"answers": answers}) if answers and copy.gives == "answers" else copy

    def tiny(self) -> HuggingFaceSpec:
        """The same architecture, small enough to be built and run in a fraction of a second."""
        config = merged(self.config, self.small.config) if isinstance(self.config, dict) else self.small.config
        size = self.input.of_size(self.small.image_size).model_copy(update={"text_tokens": self.small.text_tokens})
        changes: dict[str, Any] = {"config": config, "input": size}
        vocabulary = size_in(config, "vocab_size")
        changes["text"] = self.text.model_copy(update={"vocabulary": vocabulary} if vocabulary else {})
        if self.features:
            few = {"regions": 5, "channels": self.small.channels or self.features.channels}
            changes["features"] = self.features.model_copy(update=few)
        changes["patch_size"] = size_in(config, "patch_size") or self.patch_size
        return self.model_copy(update=changes | {"name": f"{self.name}-tiny", "weights": "random"})

    def hash(self) -> str:
        """A hash of what is measured: all fields except those that only describe, or that describe other models."""
        content = self.model_dump(mode="json", exclude=DESCRIBED | VARIANTS)
        del content["input"]["evaluation"]  # every image is measured at exactly `image_size`
        unhashed = {name for name, default in UNHASHED_DEFAULTS.items() if content[name] == default}
        hashed = {name: value for name, value in content.items() if name not in unhashed}
        return hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings; the second overrides the first."""
    both = dict(first)
    for key, value in second.items():
        inner = both.get(key)
        both[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return both


def first_value(config: Mapping[str, Any], key: str) -> Any:
    """The first value of this key at any depth; None if there is none."""
    if key in config:
        return config[key]
    inner = (first_value(value, key) for value in config.values() if isinstance(value, Mapping))
    return next((value for value in inner if value is not None), None)


def size_in(config: Mapping[str, Any], key: str) -> int | None:
    """The first value of a key of SIZES; None if there is none, or it is no such number."""
    value, (least, most) = first_value(config, key), SIZES[key]
    return value if type(value) is int and least <= value <= most else None


def schema_of(content: Mapping[str, Any]) -> type[ModelSpec] | type[HuggingFaceSpec] | type[ModuleSpec]:
    """The schema of a model file: it names a class of transformers or any module, or is made of vlbench's own parts."""
    if "module" in content:
        return ModuleSpec
    return HuggingFaceSpec if "transformers" in content else ModelSpec


def _tag(value: Any) -> str:
    schema = schema_of(value) if isinstance(value, Mapping) else type(value)
    return schema.__name__


AnySpec = Annotated[
    Annotated[ModelSpec, Tag("ModelSpec")]
    | Annotated[HuggingFaceSpec, Tag("HuggingFaceSpec")]
    | Annotated[ModuleSpec, Tag("ModuleSpec")],
    Discriminator(_tag),
]

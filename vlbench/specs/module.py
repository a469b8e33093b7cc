"""A model file for any PyTorch module: what makes it, what its forward pass reads, and which of its modules are which
stage."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from vlbench.errors import InputError, quoted
from vlbench.specs.base import PRETRAINED, RANDOM, Spec
from vlbench.specs.bounds import Amount, OneLine, Size, Weights
from vlbench.specs.foreign import ForeignSpec, ForeignVisual
from vlbench.specs.heads import TaskKind
from vlbench.specs.huggingface_parts import Paths, TokenIds
from vlbench.specs.model import DESCRIBED, Input

HUB, TIMM, OPEN_CLIP, SAVED = "hub:", "timm:", "open_clip:", "saved:"
LOCAL = "local-dir:"  # before the folder of a model, in names of timm and open_clip
FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
NO_IMAGE = (0, 0)  # the image size of a model that reads no image
MOST_ELEMENTS = 1_000_000_000  # of one example
FIXED = {"total", "rest"}  # stages that vlbench adds itself

SourceKind = Literal["timm", "open_clip", "saved", "factory", "transformers"]
Reads = Literal["image", "text", "text_mask"]
DType = Literal["float32", "int64", "bool"]
StageName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?$", max_length=60)]


def source_kind(module: str) -> SourceKind:
    """What kind of thing `module` of a model file names; anything else is a folder that `save_pretrained` wrote."""
    for prefix in (TIMM, OPEN_CLIP, SAVED):
        if module.startswith(prefix):
            return prefix.removesuffix(":")  # type: ignore[return-value]
    return "factory" if not module.startswith(HUB) and FACTORY.fullmatch(module) else "transformers"


class TensorInput(Spec):
    """A tensor that is drawn once: normal floats, integers from 0 to `below`, or ones where it is `bool`.

    Args:
        shape: of one example, without the batch.
        dtype: of its elements.
        below: integers are smaller than this.
    """

    shape: tuple[Amount, ...]
    dtype: DType = "float32"
    below: Amount = 2

    @model_validator(mode="after")
    def _fits_into_memory(self) -> TensorInput:
        if math.prod(self.shape) > MOST_ELEMENTS:
            raise ValueError(f"{'x'.join(map(str, self.shape))} has more than {MOST_ELEMENTS:,} elements")
        return self


class ModuleInput(Input):
    """As `Input`, for a module that may read no image: its `image_size` is then 0x0."""

    image_size: tuple[
        Annotated[int, Field(strict=True, ge=0, le=4096)], Annotated[int, Field(strict=True, ge=0, le=4096)]
    ] = NO_IMAGE


def _tensor(value: Any) -> Any:
    return {"shape": value} if isinstance(value, list | tuple) else value


class ModuleSpec(ForeignSpec):
    """A model file for any PyTorch module. `vlbench init SOURCE` writes it.

    Args:
        module: `PACKAGE.MODULE:FUNCTION`, which makes it; `timm:NAME`; `open_clip:NAME`; `hub:ID`, or a folder that
            `save_pretrained` wrote.
        model_args: arguments of the function, of `timm.create_model` and so on.
        weights: `random`, `pretrained` for timm and open_clip, or a checkpoint.
        input: of the image and the text.
        text: the token ids that it reads; None if it reads no text.
        inputs: what each argument of the forward pass is: `image`, `text`, `text_mask`, or a `TensorInput`. Empty where
            the function gives the inputs beside the module.
        options: further arguments of every forward pass.
        stages: paths of the modules or methods that a stage is, `*` for any step of a path. What none names is `rest`.
    """

    images: ClassVar[int] = 1
    region_channels: ClassVar[tuple[int, ...]] = ()
    reads_text_mask: ClassVar[bool] = False
    generates_text: ClassVar[bool] = False
    ranks_by_logit: ClassVar[bool] = True

    family: Literal["patch", "grid", "region", "other"] = "other"
    module: Annotated[OneLine, Field(min_length=1, max_length=4096)]
    model_args: dict[str, Any] = Field({})
    weights: Weights = RANDOM
    input: ModuleInput = ModuleInput()
    text: TokenIds | None = None
    inputs: dict[str, Annotated[Reads | TensorInput, BeforeValidator(_tensor)]] = Field({})
    options: dict[str, Any] = Field({})
    stages: dict[StageName, Paths] = Field({})

    @property
    def kind(self) -> SourceKind:
        return source_kind(self.module)

    @property
    def fetches_weights(self) -> bool:
        """Whether its library fetches weights by itself."""
        return self.kind in ("timm", "open_clip")

    @property
    def reads_pixels(self) -> bool:
        """Whether the model reads images."""
        return self.input.image_size != NO_IMAGE

    @property
    def weights_label(self) -> str:
        """Where the weights come from, as tables show it."""
        if self.weights == PRETRAINED and LOCAL in self.module:
            return self.module.partition(LOCAL)[2]
        return "the module's" if self.weights == RANDOM and self.kind in ("factory", "saved") else self.weights

    @property
    def visual(self) -> ForeignVisual:
        """Its visual part as other models have it."""
        return ForeignVisual(kind="module")

    @model_validator(mode="after")
    def _parts_fit(self) -> ModuleSpec:
        read = {value for value in self.inputs.values() if isinstance(value, str)}
        if self.inputs and ("image" in read) != self.reads_pixels:
            raise ValueError("an input that is an image needs input.image_size, and the other way round")
        if self.inputs and bool(read & {"text", "text_mask"}) != bool(self.text and self.input.text_tokens):
            raise ValueError("an input that is text needs text and input.text_tokens, and the other way round")
        for name in self.stages:
            if name in FIXED:
                raise ValueError(f"stages: {name!r} is what vlbench adds itself; another name works")
        if "?" in self.module:
            raise ValueError("module: arguments stand under 'model_args', not after a question mark")
        return self

    def with_input(self, *, image_size: Size | None = None, text_tokens: int | None = None) -> ModuleSpec:
        """A copy for another input; what the module does not read stays as it is."""
        changed = self.input
        if image_size and self.reads_pixels and image_size != changed.image_size:
            changed = changed.of_size(image_size)
        if text_tokens is not None and self.text:
            if self.text.positions and text_tokens > self.text.positions:
                raise ValueError(f"{text_tokens} text tokens, but the model has {self.text.positions} positions")
            changed = changed.model_copy(update={"text_tokens": text_tokens})
        return self if changed == self.input else self.model_copy(update={"input": changed})

    def for_task(self, kind: TaskKind, answers: int | None = None) -> ModuleSpec:
        """Raises ValueError: its outputs mean nothing to vlbench."""
        raise ValueError(f"{self.name} is a module of which vlbench knows no answers; vlbench run measures it")

    def tiny(self) -> ModuleSpec:
        """The same spec: only its author knows how to make it smaller."""
        return self

    def hash(self) -> str:
        """A hash of what is measured. Where a saved module lies is no part of it."""
        content = self.model_dump(mode="json", exclude=DESCRIBED)
        content["module"] = SAVED if self.kind == "saved" else self.module
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


class Overrides(Spec):
    """What the command line says of modules whose own configs do not say enough.

    Args:
        inputs: as in `ModuleSpec`; an empty name stands for the first argument of the forward pass.
        stages: as in `ModuleSpec`.
        image_size: height and width, in pixels.
        text_tokens: length of the text.
    """

    inputs: dict[str, Annotated[Reads | TensorInput, BeforeValidator(_tensor)]] = Field({})
    stages: dict[StageName, Paths] = Field({})
    image_size: tuple[int, int] | None = None
    text_tokens: int | None = None


Inspect = Callable[[str], ModuleSpec]  # the spec of a word such as `timm:resnet50`


def split_source(word: str) -> tuple[str, dict[str, Any]]:
    """A word of the command line as `module` and `arguments`: `models:make?{"size": 224}`. Raises InputError."""
    module, mark, text = word.partition("?")
    if not mark:
        return module, {}
    works = f'{module}?{{"size": 224}} works'
    try:
        arguments = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{quoted(word)}: what follows ? is no JSON ({error}); {works}") from error
    if not isinstance(arguments, dict):
        raise InputError(f"{quoted(word)}: what follows ? must be a mapping; {works}")
    return module, arguments


def name_of_source(module: str, arguments: dict[str, Any]) -> str:
    """A model name for a source: `timm:resnet50` is `resnet50`, and the last part of a path names a folder."""
    factory = source_kind(module) == "factory"
    text = module.replace(":", ".") if factory else module.removesuffix("/").split(":", 1)[-1]
    if source_kind(module) == "transformers" or LOCAL in module:
        text = text.rpartition("/")[2]
    shown = [text, *(f"{key}-{value}" for key, value in arguments.items())]
    return re.sub(r"[^a-z0-9._-]+", "-", "-".join(shown).lower()).strip("-._")[:100] or "module"

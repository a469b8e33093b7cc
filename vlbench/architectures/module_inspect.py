"""From the name of any module to the spec that describes it: what it reads, and its stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from vlbench.architectures.count import blank_batch
from vlbench.architectures.huggingface_stages import find
from vlbench.architectures.module_model import ModuleModel
from vlbench.architectures.module_profile import profile_of
from vlbench.architectures.module_sources import ForeignCodeError, failures_in_one_line, make_module
from vlbench.architectures.module_stages import StageMap, default_stages
from vlbench.errors import InputError, SpecError, is_out_of_memory
from vlbench.files.json_files import read_json
from vlbench.measuring.counters import tensors_of
from vlbench.specs import RANDOM, ModuleSpec
from vlbench.specs.base import PRETRAINED
from vlbench.specs.catalog import describe
from vlbench.specs.module import (
    HUB,
    LOCAL,
    OPEN_CLIP,
    TIMM,
    Overrides,
    TensorInput,
    name_of_source,
    source_kind,
    split_source,
)
from vlbench.specs.weights import WEIGHTS, home_expanded

SAY = "; --input NAME=SHAPE says what it reads"


def inspect_module(word: str, overrides: Overrides) -> ModuleSpec:
    """The spec of `timm:NAME`, `open_clip:NAME`, `hub:ID`, a folder, or `PACKAGE.MODULE:FUNCTION`, each with arguments
    as JSON after a question mark.

    Raises InputError, in one line, where it cannot be made, its forward pass fails, or what it reads is unknown.
    """
    module, arguments = split_source(word)
    module, weights = _located(module)
    spec = ModuleSpec(
        name=name_of_source(module, arguments), source=module, module=module, model_args=arguments, weights=weights
    )
    spec, (made, example), device = _made(spec, overrides)
    content = spec.model_dump(mode="json", exclude_unset=True) | profile_of(made, example, spec, overrides)
    return describe_made(content, (made, example), overrides.stages, device, works=SAY)


def describe_made(
    content: Mapping[str, Any],
    made: tuple[nn.Module, Any],
    stages: Mapping[str, Any],
    device: str,
    *,
    works: str = "",
) -> ModuleSpec:
    """The spec of a module that exists, with the stages of its class where none are given.

    Raises InputError as `inspect_module` does.

    Args:
        content: of the spec, without stages.
        made: the module, in evaluation mode, and its inputs, if it was made with some.
        stages: paths of the modules of each stage; empty for those of its class.
        device: where both are.
        works: the end of the message where the pass fails.
    """
    try:
        spec = ModuleSpec.model_validate({**content, "stages": dict(stages) or default_stages(made[0])})
    except ValidationError as error:
        raise SpecError(f"{content['name']}: {describe(error, ModuleSpec)}") from error
    called = _called_stages(spec, made, device, works)
    return spec if stages else spec.model_copy(update={"stages": called})


def _located(module: str) -> tuple[str, str]:
    """A source as a spec names it, and its weights. A folder of open_clip or timm becomes a name of theirs."""
    if source_kind(module) != "transformers":
        return module, RANDOM
    if module.startswith(HUB):
        return module, module
    folder = home_expanded(module)
    if folder is None or not folder.is_dir():
        raise InputError(f"{module}: no such folder; a folder that save_pretrained wrote works")
    filled = any((folder / name).is_file() for name in WEIGHTS)
    if (folder / "open_clip_config.json").is_file():
        return f"{OPEN_CLIP}{LOCAL}{folder}", PRETRAINED if filled else RANDOM
    path = folder / "config.json"
    if path.is_file() and isinstance(config := read_json(path), Mapping) and "architecture" in config:
        return f"{TIMM}{LOCAL}{folder}", PRETRAINED if filled else RANDOM
    return module, module if filled else RANDOM


def _made(spec: ModuleSpec, overrides: Overrides) -> tuple[ModuleSpec, tuple[nn.Module, Any], str]:
    """The module on the meta device if it can be made there, which takes no memory, else on the CPU."""
    if overrides.image_size:
        sized = spec.input.model_copy(update={"image_size": overrides.image_size})
        spec = spec.model_copy(update={"input": sized})
    try:
        with torch.device("meta"):
            return spec, make_module(spec), "meta"
    except (ForeignCodeError, RuntimeError) as error:  # code that needs values fails there
        if is_out_of_memory(error):
            raise
        return spec, make_module(spec), "cpu"


def _called_stages(spec: ModuleSpec, made: tuple[nn.Module, Any], device: str, works: str) -> StageMap:
    """The stages of a spec without the paths of which one forward pass calls no module.

    Raises InputError where the pass fails, or gives no tensor.
    """
    model = ModuleModel(spec, made).eval()
    called: set[nn.Module] = set()
    hooks = [
        part.register_forward_pre_hook(lambda part, _: called.add(part))
        for parts in model.parts.values()
        for part in parts
    ]
    try:
        with torch.device(device), torch.no_grad():
            output = model(*blank_batch(spec, 1, device))
    except Exception as error:
        if device == "meta" and not is_out_of_memory(error):
            return _called_stages(spec, make_module(spec), "cpu", works)
        with failures_in_one_line(spec.name, f"its forward pass of {inputs_in_words(spec, made[1])}", works):
            raise
    finally:
        for hook in hooks:
            hook.remove()
    if not any(True for _ in tensors_of(output)):
        raise InputError(f"{spec.name}: its forward pass gives a {type(output).__name__} without a tensor")
    stages = {
        stage: tuple(path for path in paths if called.intersection(find(model.model, path, spec.name)))
        for stage, paths in spec.stages.items()
    }
    return {stage: paths for stage, paths in stages.items() if paths}


def inputs_in_words(spec: ModuleSpec, example: Any) -> str:
    """`pixel_values 3x224x224, input_ids 40`, without the batch."""
    shapes = {"image": (3, *spec.input.image_size)}
    described = [
        f"{name} {'x'.join(map(str, read.shape if isinstance(read, TensorInput) else shapes.get(read, length)))}"
        for length in [(spec.input.text_tokens,)]
        for name, read in spec.inputs.items()
    ]
    return ", ".join(described) or shapes_in_words(example)


def shapes_in_words(example: Any) -> str:
    """`1x3x224x224, 1x40`"""
    return ", ".join("x".join(map(str, tensor.shape)) or "number" for tensor in tensors_of(example)) or "no tensor"

"""Makes the module that a `ModuleSpec` names: by a function, by timm or open_clip, from a folder of transformers, or as
Python saved it."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vlbench.architectures.huggingface_weights import (
    error_line,
    is_unreachable,
    located,
    one_line_errors,
    quiet,
    seeded,
    with_weights_of,
)
from vlbench.architectures.initialise import check_memory, on_meta
from vlbench.errors import LONGEST_REASON, InputError, device_failure, nearest, shortened
from vlbench.specs import RANDOM, ModuleSpec
from vlbench.specs.base import PRETRAINED
from vlbench.specs.module import LOCAL, OPEN_CLIP, SAVED, TIMM, SourceKind

MODULE, INPUTS = "module.pt", "inputs.pt"  # of a saved module


class ForeignCodeError(InputError):
    """What the code of a model raised, in one line."""


def make_module(spec: ModuleSpec) -> tuple[nn.Module, Any]:
    """The module with its weights, and the inputs that came with it; None if none did.

    Within `torch.device("meta")` it has no weights, if what makes it allows that. Raises InputError, in one line,
    where it cannot be made.
    """
    with seeded(spec.seed), quiet(), failures_in_one_line(spec.name, "making it"):
        made = MAKERS[spec.kind](spec)
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        given = f"a {type(module).__name__}" if module is not None else "nothing"
        raise InputError(f"{spec.name}: {spec.module} returns {given}; a torch.nn.Module, or one and its inputs, works")
    if spec.weights not in (RANDOM, PRETRAINED) and spec.kind != "transformers" and not on_meta(module):
        _fill(module, spec)
    return module, inputs


def import_maker(spec: ModuleSpec) -> None:
    """Imports what making the module needs, so that its memory is not taken for the module's. Raises nothing."""
    with suppress(Exception), quiet(), torch.device("meta"):
        if spec.kind == "factory":
            find_factory(spec.module, spec.model_args)
        else:
            MAKERS[spec.kind](spec)


@contextmanager
def failures_in_one_line(name: str, what: str, works: str = "") -> Iterator[None]:
    """Raises ForeignCodeError for whatever another's code raises, but for a device that fails.

    Args:
        name: of the model.
        what: was attempted, for the message.
        works: the end of the message.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if device_failure(error):
            raise
        reason = f"{type(error).__name__}: {shortened(error_line(error), LONGEST_REASON)}"
        raise ForeignCodeError(f"{name}: {what} raises {reason}{works}") from error


def _from_factory(spec: ModuleSpec) -> Any:
    return find_factory(spec.module, spec.model_args)(**spec.model_args)


def find_factory(source: str, arguments: dict[str, Any]) -> Callable[..., Any]:
    """Imports `package.module:function`. Raises InputError where there is none, or it needs other arguments."""
    module_name, _, path = source.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working directory, as for `python -m`
    try:
        function: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        where = "the working directory and the installed packages are searched"
        raise InputError(f"{source}: {error}; {where}") from error
    for attribute in path.split("."):
        if not hasattr(function, attribute):
            public = [name for name in dir(function) if not name.startswith("_")]
            raise InputError(f"{source}: {module_name} has no {attribute!r}; {nearest(attribute, public)}")
        function = getattr(function, attribute)
    if not callable(function):
        raise InputError(f"{source}: is a {type(function).__name__}, and no function that makes a module")
    with suppress(ValueError):  # functions of C may have no signature
        try:
            inspect.signature(function).bind(**arguments)
        except TypeError as error:
            works = f'{source}?{{"NAME": VALUE}} gives arguments as JSON'
            raise InputError(f"{source}: {error}; {works}") from error
    return function  # type: ignore[no-any-return]


def _from_timm(spec: ModuleSpec) -> nn.Module:
    import timm  # noqa: PLC0415  as slow to import as PyTorch

    name = spec.module.removeprefix(TIMM)
    local = name.startswith((LOCAL, "hf-hub:"))
    if not local and not timm.is_model(name):
        known = timm.list_models()
        raise InputError(f"{TIMM}{name}: timm {timm.__version__} has no such model; {nearest(name, known, amount=3)}")
    pretrained = spec.weights == PRETRAINED and not _on_meta_device()
    options = dict(spec.model_args)
    size = spec.input.image_size
    config = timm.models.get_pretrained_cfg(name) if not local else None
    if config is not None and config.fixed_input_size and spec.reads_pixels and size != config.input_size[1:]:
        options.setdefault("img_size", size)
    with _unreachable_in_one_line(spec):
        module: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    return module


def _from_open_clip(spec: ModuleSpec) -> nn.Module:
    try:
        import open_clip  # noqa: PLC0415  slow to import, and an extra
    except ImportError as error:
        raise InputError(f"{spec.module}: open_clip is absent ({error}); pip install 'vlbench[open-clip]'") from error
    name = spec.module.removeprefix(OPEN_CLIP)
    if not name.startswith((LOCAL, "hf-hub:")) and name not in open_clip.list_models():
        near = nearest(name, open_clip.list_models(), amount=3)
        raise InputError(f"{OPEN_CLIP}{name}: open_clip {open_clip.__version__} has no such model; {near}")
    options = {"pretrained_text": False, **spec.model_args}
    if spec.reads_pixels:
        height, width = spec.input.image_size
        options.setdefault("force_image_size", height if height == width else (height, width))
    if name.startswith(LOCAL):
        options.setdefault("load_weights", spec.weights == PRETRAINED and not _on_meta_device())
    elif spec.weights == PRETRAINED:
        tags = open_clip.list_pretrained_tags_by_model(name)
        if not tags:
            raise InputError(f"{spec.name}: open_clip publishes no weights of {name}; a checkpoint file works")
        options.setdefault("pretrained", tags[-1])
    with _unreachable_in_one_line(spec):
        module: nn.Module = open_clip.create_model(name, device=torch.get_default_device(), **options)
    return module


def _from_transformers(spec: ModuleSpec) -> nn.Module:
    config, model_class = config_and_class(spec)
    config = type(config).from_dict(config.to_dict() | spec.model_args)
    if spec.weights != RANDOM and not _on_meta_device():
        return with_weights_of(spec, model_class, config)
    if not _on_meta_device():
        with torch.device("meta"):
            check_memory(spec.name, model_class(config))
    return model_class(config)  # type: ignore[no-any-return]


def config_and_class(spec: ModuleSpec) -> tuple[Any, Any]:
    """The config of a folder or a hub, and the class of transformers that it names. Raises SpecError."""
    import transformers  # noqa: PLC0415  as slow to import as PyTorch

    identifier, options = located(spec.module, spec)
    with one_line_errors(spec.module, spec):
        config = transformers.AutoConfig.from_pretrained(identifier, trust_remote_code=False, **options)
    for name in config.architectures or ():
        if hasattr(transformers, name):
            return config, getattr(transformers, name)
    named = (config.architectures or ["no class"])[0]
    mapped = transformers.MODEL_MAPPING.get(type(config), None)
    if config.architectures or mapped is None:
        raise InputError(f"{spec.module}: its config.json names {named}, which transformers does not have")
    return config, mapped


def _from_saved(spec: ModuleSpec) -> tuple[Any, ...]:
    folder = Path(spec.module.removeprefix(SAVED))
    device = torch.get_default_device()
    # The Python interface wrote both files.
    module, inputs = (torch.load(folder / name, weights_only=False, map_location=device) for name in (MODULE, INPUTS))
    made = module if isinstance(module, nn.Module) else module()
    return made[0] if isinstance(made, tuple) else made, inputs


MAKERS: dict[SourceKind, Callable[[ModuleSpec], Any]] = {
    "factory": _from_factory,
    "timm": _from_timm,
    "open_clip": _from_open_clip,
    "transformers": _from_transformers,
    "saved": _from_saved,
}


def _fill(module: nn.Module, spec: ModuleSpec) -> None:
    """Loads a checkpoint. Raises InputError where it holds other tensors than the module."""
    from vlbench.architectures.checkpoints.reading import read_state  # noqa: PLC0415  its readers are slow to import
    from vlbench.architectures.checkpoints.rules import refuse_shapes, refuse_values  # noqa: PLC0415

    state, expected = read_state(spec.weights), module.state_dict()
    gaps = {
        "lacks": [name for name in expected if name not in state],
        "has besides": [name for name in state if name not in expected],
    }
    for what, names in gaps.items():
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise InputError(f"{spec.name}: {spec.weights} is of another model: {what} {names[0]}{more}")
    title = f"a checkpoint for {spec.name}"
    refuse_shapes(title, spec.weights, state, expected)
    floats = {name: tensor for name, tensor in state.items() if expected[name].is_floating_point()}
    refuse_values(title, spec.weights, floats)
    module.load_state_dict(state)


def _on_meta_device() -> bool:
    return torch.get_default_device().type == "meta"


@contextmanager
def _unreachable_in_one_line(spec: ModuleSpec) -> Iterator[None]:
    """Raises InputError where a library cannot reach its hub."""
    try:
        yield
    except Exception as error:
        if is_unreachable(error):
            works = "a checkpoint file or random weights work" if spec.weights == PRETRAINED else "a local folder works"
            raise InputError(f"{spec.name}: the hub cannot be reached, and no copy is cached; {works}") from error
        raise

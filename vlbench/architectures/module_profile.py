"""What a module reads, from its own config: image and text, their sizes, and the arguments of its forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vlbench.errors import InputError, nearest
from vlbench.files.json_files import read_json
from vlbench.specs import ModuleSpec
from vlbench.specs.module import HUB, Overrides
from vlbench.specs.weights import home_expanded

TEXT_TOKENS = 40  # of a text for which the model has more positions, as in ViLT
LONGEST_PADDED = 128  # positions of a model that pads every text to all of them, such as CLIP
NEEDED = "--input NAME=3x224x224 gives the shape of an example, --image-size 224x224 an image"


def profile_of(module: nn.Module, example: Any, spec: ModuleSpec, overrides: Overrides) -> dict[str, Any]:
    """`input`, `text`, `inputs`, `options` and `family` of a spec; `overrides.inputs` are for any but those of timm and
    open_clip, which say themselves what they read."""
    if overrides.inputs and spec.kind not in ("timm", "open_clip"):
        return _of_overrides(module, spec, overrides)
    if example is not None:
        return {}
    library = type(module).__module__.split(".")[0]
    if library == "timm":
        return _of_timm(module, spec, overrides)
    if library == "open_clip":
        return _of_open_clip(module, overrides)
    if hasattr(module, "config") and hasattr(module, "main_input_name"):
        return _of_transformers(module, spec, overrides)
    names = _required(module)
    if overrides.image_size and len(names) == 1:
        return {"input": {"image_size": overrides.image_size}, "inputs": {names[0]: "image"}}
    example = ",".join(f"{name}=3x224x224" for name in names)
    works = f"--input {example} gives the shapes of an example" if names else "vlbench needs at least one input"
    raise InputError(f"{spec.name}: what it reads is unknown; {works}")


def _required(module: nn.Module) -> list[str]:
    """The names of the arguments that its forward pass cannot do without; numbers for those without a name."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return ["0"]
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    return [parameter.name for parameter in named if parameter.default is parameter.empty]


def _of_overrides(module: nn.Module, spec: ModuleSpec, overrides: Overrides) -> dict[str, Any]:
    parameters = inspect.signature(module.forward).parameters
    known = [name for name, value in parameters.items() if value.kind not in (value.VAR_POSITIONAL, value.VAR_KEYWORD)]
    free = len(known) < len(parameters)
    inputs: dict[str, Any] = {}
    for name, read in overrides.inputs.items():
        if not name and not known:
            name = "0"
        elif not name:
            name = known[0]
        elif name not in known and not free:
            raise InputError(f"{spec.name}: --input {name}: its forward pass takes no {name!r}; {nearest(name, known)}")
        inputs[name] = read if isinstance(read, str) else read.model_dump(mode="json")
    content: dict[str, Any] = {"inputs": inputs, "input": {}}
    if "image" in inputs.values():
        content["input"]["image_size"] = overrides.image_size or _image_size(module)
        if content["input"]["image_size"] is None:
            raise InputError(f"{spec.name}: its image size is unknown; --image-size 224x224 works")
    if {"text", "text_mask"} & {value for value in inputs.values() if isinstance(value, str)}:
        text, length = _text_of(module, overrides)
        content |= {"text": text}
        content["input"]["text_tokens"] = length
    return content


def _of_timm(module: Any, spec: ModuleSpec, overrides: Overrides) -> dict[str, Any]:
    config = module.pretrained_cfg
    size = overrides.image_size or spec.model_args.get("img_size") or tuple(config["input_size"][1:])
    given = {"image_size": _pair(size), "mean": config["mean"], "std": config["std"]}
    blocks = any(hasattr(module, name) for name in ("patch_embed", "embeds"))
    return {
        "family": "patch" if blocks else "grid",
        "source": f"timm: {config.get('architecture', '')}",
        "input": given,
        "inputs": {_required(module)[0]: "image"},
    }


def _of_open_clip(module: Any, overrides: Overrides) -> dict[str, Any]:
    tower = module.visual
    size = overrides.image_size or tower.image_size
    given: dict[str, Any] = {"image_size": _pair(size)}
    for name in ("mean", "std"):
        if values := getattr(tower, f"image_{name}", None):
            given[name] = values
    length = getattr(module, "context_length", None) or module.text.context_length
    vocabulary = getattr(module, "vocab_size", None) or module.text.vocab_size
    # The end has the largest id, by which CLIP finds it.
    text = {"vocabulary": vocabulary, "positions": length, "begin": vocabulary - 2, "end": vocabulary - 1}
    return {
        "family": "patch" if hasattr(tower, "conv1") and hasattr(tower, "transformer") else "grid",
        "input": given | {"text_tokens": length},
        "text": text,
        "inputs": {"image": "image", "text": "text"},
    }


def _of_transformers(module: Any, spec: ModuleSpec, overrides: Overrides) -> dict[str, Any]:
    parameters = inspect.signature(module.forward).parameters
    inputs: dict[str, Any] = {}
    given: dict[str, Any] = {}
    content: dict[str, Any] = {"inputs": inputs, "input": given, "source": f"transformers: {type(module).__name__}"}
    if "input_ids" in parameters and hasattr(module.config.get_text_config(), "vocab_size"):
        content["text"], given["text_tokens"] = _text_of(module, overrides)
        inputs["input_ids"] = "text"
        if module.config.is_encoder_decoder and "decoder_input_ids" in parameters:
            inputs["decoder_input_ids"] = "text"
    if "pixel_values" in parameters:
        processor = _processor_of(spec)
        size = overrides.image_size or processor.get("image_size") or _image_size(module)
        if size is None:
            raise InputError(f"{spec.name}: its config has no image size; --image-size 224x224 works")
        given |= {**processor, "image_size": size}
        inputs["pixel_values"] = "image"
        content["family"] = "patch"
        if tuple(size) != _image_size(module) and "interpolate_pos_encoding" in parameters:
            content["options"] = {"interpolate_pos_encoding": True}
    if not inputs:
        raise InputError(f"{spec.name}: what it reads ({module.main_input_name}) is neither text nor image; {NEEDED}")
    return content


def _image_size(module: Any) -> tuple[int, int] | None:
    config = getattr(module, "config", None)
    for owner in (config, getattr(config, "vision_config", None), getattr(config, "encoder", None)):
        size = owner.get("image_size") if isinstance(owner, Mapping) else getattr(owner, "image_size", None)
        if isinstance(size, int) or (isinstance(size, list | tuple) and len(size) == 2):
            return _pair(size)
    return None


def _pair(size: Any) -> tuple[int, int]:
    """Height and width; configs give squares as one number."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _text_of(module: Any, overrides: Overrides) -> tuple[dict[str, Any], int]:
    """`text` of a spec, and the length of a text, from a config of transformers."""
    config: Any = getattr(module, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    vocabulary, positions = getattr(text, "vocab_size", None), getattr(text, "max_position_embeddings", None)
    if vocabulary is None:
        raise InputError("--input: the size of its vocabulary is unknown; NAME=40:int64:30522 gives length and size")
    if positions and getattr(text, "position_embedding_type", "absolute") == "absolute" and positions <= 2 * 514:
        positions -= 2 if positions % 2 == 0 and positions % 64 == 2 else 0  # RoBERTa's begin at the padding's id
    content = {"vocabulary": vocabulary, "positions": positions, "end": vocabulary - 1}
    for name, key in (("begin", "bos_token_id"), ("end", "eos_token_id"), ("padding", "pad_token_id")):
        token = getattr(text, key, None)
        token = token[0] if isinstance(token, list) and token else token
        if isinstance(token, int) and 0 <= token < vocabulary:
            content[name] = token
    padded = positions if positions and positions <= LONGEST_PADDED else TEXT_TOKENS
    return content, overrides.text_tokens or padded


def _processor_of(spec: ModuleSpec) -> dict[str, Any]:
    """Image size, mean and deviation from the preprocessor_config.json of a folder, as far as it gives them."""
    folder = home_expanded(spec.module) if not spec.module.startswith(HUB) else _cached(spec.module)
    path = folder / "preprocessor_config.json" if folder else None
    if path is None or not path.is_file():
        return {}
    config = read_json(path)
    content: dict[str, Any] = {}
    size = (config.get("crop_size") if config.get("do_center_crop") else None) or config.get("size")
    if isinstance(size, int):
        content["image_size"] = (size, size)
    elif isinstance(size, Mapping) and {"height", "width"} <= set(size):
        content["image_size"] = (size["height"], size["width"])
    for name in ("mean", "std"):
        values = config.get(f"image_{name}")
        if isinstance(values, list) and len(values) == 3:
            content[name] = values
    return content


def _cached(module: str) -> Path | None:
    """The folder of a hub's model in the cache, which reading its config has filled."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    path = try_to_load_from_cache(module.removeprefix(HUB), "preprocessor_config.json")
    return Path(path).parent if isinstance(path, str) else None

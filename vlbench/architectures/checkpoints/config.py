"""The config next to a checkpoint, compared with the model file: it says what no tensor shows.

transformers, OpenCLIP, timm and UNITER's code write one each. What the tensors show by their names and shapes is not
compared again, and what only training uses (dropout, initialisation) not at all.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlbench.errors import InputError, quoted
from vlbench.files.json_files import read_json
from vlbench.specs import AnySpec
from vlbench.specs.weights import WEIGHTS

Section = Mapping[str, Any]
# Further names of a key; each one that a config has is compared.
SYNONYMS = {
    "num_attention_heads": ("n_heads", "n_head", "num_heads"),
    "hidden_act": ("hidden_activation", "activation_function"),
    "layer_norm_eps": ("layer_norm_epsilon", "norm_eps"),
}
QUOTE = "'"
SAME_VALUES = {"gelu_python": "gelu"}  # names of one function


@dataclass(frozen=True, slots=True)
class ConfigSetting:
    """A key of a config, and what it must equal.

    Attributes:
        key: its name; dots lead into sections.
        default: what the library takes where a config leaves it out; None: nothing is compared then.
        ours: fields of the model file, by dotted names, that must be equal. A part without such a field has no say.
        only: the value that all parts compute with, where no field can say otherwise.
        make: our value from theirs and its section; None: nothing to compare.
    """

    key: str
    default: Any = None
    ours: tuple[str, ...] = ()
    only: Any = None
    make: Callable[[Any, Section], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigValue:
    """What a config says: the text of it for messages, the setting, and the value in our words."""

    text: str
    setting: ConfigSetting
    value: Any


def _grid(image_size: Any, section: Section) -> Any:
    """Rows and columns of the learned positions."""
    step, sides = section.get("patch_size", 32), image_size if isinstance(image_size, list) else [image_size] * 2
    if not all(isinstance(length, int) and length > 0 for length in (step, *sides)):
        return image_size
    return tuple(side // step for side in sides)


def _most_patches(length: Any, section: Section) -> Any:
    """How many patches of an image are kept, at random; any negative number keeps all."""
    return None if isinstance(length, int) and length < 0 else length


def _unless_raw(value: Any, section: Section) -> Any:
    """A mean or deviation; none where images are not normalised. One number stands for all three channels."""
    if section.get("do_normalize") is False:
        return None
    return tuple(value) if isinstance(value, list) else (value,) * 3


def _open_clip_heads(layers: Any, section: Section) -> Any:
    """Of the image tower: its width in heads of 64, and 32 times that for a ResNet's pooling."""
    width, of_head = section.get("width", 768), section.get("head_width", 64)
    if not all(isinstance(length, int) and length > 0 for length in (width, of_head)):
        return None
    return width * (32 if isinstance(layers, list) else 1) // of_head


def _open_clip_grid(image_size: Any, section: Section) -> Any:
    return _grid(image_size, {"patch_size": 32} if isinstance(section.get("layers"), list) else section)


TIMM_HEADS = {"tiny": 3, "small": 6, "medium": 8, "base": 12, "large": 16, "huge": 16, "giant": 16}


def _timm_heads(architecture: Any, section: Section) -> Any:
    size = re.match(r"(?:vit|deit3?)_([a-z]+)_", str(architecture))
    return TIMM_HEADS.get(size[1]) if size else None


def _timm_activation(architecture: Any, section: Section) -> Any:
    return "quick_gelu" if "quickgelu" in str(architecture) else None


def _timm_strides(architecture: Any, section: Section) -> Any:
    return "anti-aliased" if re.search(r"res(net|next)(aa|blur)", str(architecture)) else None


def _tower(theirs: str, ours: str, heads: int) -> tuple[ConfigSetting, ...]:
    """Of one of CLIP's towers."""
    return (
        ConfigSetting(f"{theirs}.num_attention_heads", heads, (f"{ours}.heads",)),
        ConfigSetting(f"{theirs}.hidden_act", "quick_gelu", (f"{ours}.activation",)),
        ConfigSetting(f"{theirs}.layer_norm_eps", 1e-5, (f"{ours}.layer_norm_eps",)),
    )


HEADS = ConfigSetting("num_attention_heads", 12, ("interaction.heads",))
OF_UNITER = (
    ConfigSetting("num_attention_heads", None, ("interaction.heads", "head.heads")),
    ConfigSetting("hidden_act", only="gelu"),
)
EPSILONS = ("text.layer_norm_eps", "interaction.layer_norm_eps")
GELU = ConfigSetting("hidden_act", "gelu", only="gelu")
ABSOLUTE = ConfigSetting("position_embedding_type", only="absolute")
IMAGES = (
    ConfigSetting("image_mean", ours=("input.mean",), make=_unless_raw),
    ConfigSetting("image_std", ours=("input.std",), make=_unless_raw),
    ConfigSetting("do_normalize", ours=("input.mean",), make=lambda value, _: None if value else (0.0, 0.0, 0.0)),
    ConfigSetting("do_normalize", ours=("input.std",), make=lambda value, _: None if value else (1.0, 1.0, 1.0)),
    ConfigSetting("rescale_factor", only=1 / 255),
)
_NORMALISED = (
    ConfigSetting("mean", ours=("input.mean",), make=_unless_raw),
    ConfigSetting("std", ours=("input.std",), make=_unless_raw),
)


def _within(section: str, settings: Sequence[ConfigSetting]) -> tuple[ConfigSetting, ...]:
    return tuple(
        ConfigSetting(f"{section}.{each.key}", each.default, each.ours, each.only, each.make) for each in settings
    )


# By the file, and by the kind that a family of checkpoints has.
CONFIGS: dict[tuple[str, str], tuple[ConfigSetting, ...]] = {
    ("config.json", "vilt"): (
        HEADS,
        GELU,
        ConfigSetting("layer_norm_eps", 1e-12, EPSILONS),
        ConfigSetting("image_size", 384, ("visual.position_grid",), make=_grid),
        ConfigSetting("max_image_length", only=-1, make=_most_patches),
    ),
    ("config.json", "visual_bert"): (
        HEADS,
        GELU,
        ABSOLUTE,
        ConfigSetting("layer_norm_eps", 1e-12, (*EPSILONS, "visual.projection.layer_norm_eps")),
        ConfigSetting("bypass_transformer", False, only=False),
    ),
    ("config.json", "lxmert"): (HEADS, GELU),
    ("config.json", "uniter"): OF_UNITER,
    ("../log/model.json", "uniter"): OF_UNITER,
    ("config.json", "clip"): (
        *_tower("text_config", "text", 8),
        *_tower("vision_config", "visual", 12),
        ConfigSetting("vision_config.image_size", 224, ("visual.position_grid",), make=_grid),
    ),
    ("open_clip_config.json", "open_clip"): (
        ConfigSetting(
            "model_cfg.quick_gelu",
            False,
            ("text.activation", "visual.activation"),
            make=lambda quick, _: "quick_gelu" if quick else "gelu",
        ),
        ConfigSetting("model_cfg.text_cfg.heads", 8, ("text.heads",)),
        ConfigSetting("model_cfg.text_cfg.pool_type", "argmax", only="argmax"),
        ConfigSetting("model_cfg.text_cfg.no_causal_mask", False, only=False),
        ConfigSetting("model_cfg.vision_cfg.layers", 12, ("visual.heads",), make=_open_clip_heads),
        ConfigSetting("model_cfg.vision_cfg.image_size", 224, ("visual.position_grid",), make=_open_clip_grid),
        ConfigSetting("model_cfg.vision_cfg.pool_type", "tok", only="tok"),
        *_within("preprocess_cfg", _NORMALISED),
    ),
    ("config.json", "timm"): (
        ConfigSetting("architecture", ours=("interaction.heads",), make=_timm_heads),
        ConfigSetting("architecture", make=_timm_activation, only="gelu"),
        ConfigSetting("architecture", make=_timm_strides, only="plain"),
        ConfigSetting("model_args.num_heads", ours=("interaction.heads",)),
        ConfigSetting("model_args.act_layer", only="gelu"),
        ConfigSetting("model_args.output_stride", only=32),
        *_within("pretrained_cfg", _NORMALISED),
    ),
    ("config.json", "timm_backbone"): _within("pretrained_cfg", _NORMALISED),
    **{
        (file, kind): _within(section, IMAGES) if section else IMAGES
        for file, section in (("preprocessor_config.json", ""), ("processor_config.json", "image_processor"))
        for kind in ("vilt", "clip", "images")
    },
}
OTHER_TYPES = {"uniter": {"bert"}}  # model_type of a config that is of this kind all the same


def config_values(kinds: Sequence[str], weights: Path) -> list[ConfigValue]:
    """What the configs next to a file of weights say, as far as they are of these kinds.

    Raises InputError where one cannot be read, or is of another model although transformers named both files.
    """
    return [
        value
        for (name, kind), settings in CONFIGS.items()
        if kind in kinds and (weights.parent / name).exists()
        for value in _values(weights.parent / name, kind, settings, weights)
    ]


def _values(path: Path, kind: str, settings: Sequence[ConfigSetting], weights: Path) -> Iterator[ConfigValue]:
    content = read_json(path, option="weights ", any_number=True)
    if not isinstance(content, dict):
        raise InputError(f"weights {path}: no mapping of settings")
    named = content.get("model_type") if path.name == "config.json" else None
    if named is not None and named != kind and named not in OTHER_TYPES.get(kind, set()):
        if weights.name in WEIGHTS:
            raise InputError(f"weights {path}: model_type {_short(named)}, but {weights.name} next to it is {kind}")
        return
    for setting in settings:
        *parents, key = setting.key.split(".")
        section = _section(content, parents, path)
        present = [name for name in (key, *SYNONYMS.get(key, ())) if section.get(name) is not None]
        prefix = "".join(f"{parent}." for parent in parents)
        entries = [(section[name], f"{path.name} has {prefix}{name} {_short(section[name])}") for name in present]
        if not entries and setting.default is not None:
            entries = [(setting.default, f"{path.name} has no {setting.key}, which means {_short(setting.default)}")]
        for theirs, text in entries:
            value = setting.make(theirs, section) if setting.make else theirs
            if value is not None:
                yield ConfigValue(text=text, setting=setting, value=SAME_VALUES.get(str(value), value))


def _section(content: Section, names: Sequence[str], path: Path) -> Section:
    """A section of a config; CLIP's old configs repeat `text_config` in `text_config_dict`, which counts."""
    for name in names:
        merged: dict[str, Any] = {}
        for part in (content.get(name), content.get(f"{name}_dict")):
            if part is not None and not isinstance(part, dict):
                raise InputError(f"weights {path}: {name} is {_short(part)}, no mapping of settings")
            merged |= part or {}
        content = merged
    return content


def refuse_other_settings(values: Sequence[ConfigValue], spec: AnySpec, *, source: str) -> None:
    """Raises InputError with the first setting of a config that the model file contradicts, or that no part has."""
    for value in values:
        setting = value.setting
        if not setting.ours and not _equal(value.value, setting.only):
            raise InputError(
                f"weights {source}: {value.text}; the parts of {spec.name} have {_short(setting.only)} alone"
            )
        fields = {path: value_at(spec, path) for path in setting.ours}
        other = [path for path, ours in fields.items() if ours is not None and not _equal(value.value, ours)]
        if other:
            differs = f"{other[0]} is {_short(fields[other[0]])} in {spec.name}"
            lines = ", ".join(f"{path}: {_short(value.value).strip(QUOTE)}" for path in other)
            fits = f"; {lines} in a model file fits" if _is_like(value.value, fields[other[0]]) else ""
            raise InputError(f"weights {source}: {value.text}, but {differs}{fits}")


def value_at(spec: AnySpec, path: str) -> Any:
    """A field of a spec by its dotted name; None where a part has no such field."""
    part: Any = spec
    for name in path.split("."):
        part = getattr(part, name, None)
    return part


def _equal(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, tuple | list) and isinstance(ours, tuple | list):
        return len(theirs) == len(ours) and all(map(_equal, theirs, ours))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (theirs, ours))
    return math.isclose(theirs, ours, rel_tol=1e-6) if numbers else type(theirs) is type(ours) and theirs == ours


def _is_like(theirs: Any, ours: Any) -> bool:
    """Whether a value is of the type that a field takes."""
    if isinstance(theirs, tuple | list) and isinstance(ours, tuple | list):
        return len(theirs) == len(ours) and all(isinstance(number, int | float) for number in theirs)
    return type(theirs) is type(ours) and (isinstance(theirs, str) or theirs > 0)


def _short(value: Any) -> str:
    """A value as messages show it: in one line, with quotes around a text."""
    return quoted(list(value) if isinstance(value, tuple) else value)

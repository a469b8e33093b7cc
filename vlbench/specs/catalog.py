"""Finds model files by name, alias, glob or path, and describes what is wrong with a file in one line."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from vlbench.errors import LONGEST_LIST, InputError, SpecError, nearest, quoted, shortened
from vlbench.files import yaml_files
from vlbench.files.yaml_files import read_mapping
from vlbench.specs import AnySpec, schema_of
from vlbench.specs.module import FACTORY, HUB, OPEN_CLIP, TIMM, Inspect, ModuleSpec

Schema = TypeVar("Schema", bound=BaseModel)


def index_by_name(specs: Sequence[AnySpec]) -> dict[str, int]:
    """The index of each model in `specs`, by its name and by each of its aliases."""
    return {word: index for index, spec in enumerate(specs) for word in (spec.name, *spec.aliases)}


def unknown_model(option: str, name: str, selected: Iterable[str]) -> InputError:
    """The error for an option MODEL=... whose model is not among those that the command runs."""
    return InputError(f"{option}: {name!r} is not one of the selected models; {nearest(name, selected)}")


@cache
def catalog() -> dict[str, AnySpec]:
    """Every model in `models/`, by name, sorted. Raises SpecError where a file is invalid or two share a name."""
    folder = yaml_files.models_folder()
    specs = sorted(map(read_spec, folder.glob("*.yaml")), key=lambda spec: spec.name)
    words = [word for spec in specs for word in (spec.name, *spec.aliases)]
    duplicates = {word for word in words if words.count(word) > 1}
    if duplicates:
        raise SpecError(f"{folder}: more than one model is called {', '.join(sorted(duplicates))}")
    return {spec.name: spec for spec in specs}


def resolve(names: str, inspect: Inspect | None = None) -> list[AnySpec]:
    """The models that a comma-separated list selects, in order, each once: names, aliases, globs, YAML paths, folders
    that `vlbench train` wrote, and sources of modules.

    Raises InputError for a word that matches no model, and where two different models have the same name.

    Args:
        names: the list.
        inspect: gives the spec of a source such as `timm:resnet50`; None where these cannot be used.
    """
    selected: dict[str, AnySpec] = {}
    for word in split_words(names):
        for spec in _resolve_word(word, inspect):
            if isinstance(spec, ModuleSpec) and spec.name in selected and selected[spec.name].hash() != spec.hash():
                spec = spec.model_copy(update={"name": f"{spec.name}-{spec.kind}"})  # its user cannot rename it
            if spec.name in selected and selected[spec.name].hash() != spec.hash():
                raise InputError(f"--models: two different models are called {spec.name}; rename one")
            selected[spec.name] = spec
    if not selected:
        raise InputError("--models: no model named; --models vilt,uniter works, and vlbench list shows all")
    return list(selected.values())


def split_words(names: str) -> list[str]:
    """The words of a comma-separated list, each of which may end with a mapping in JSON."""
    words, depth = [""], 0
    for sign in names:
        depth += (sign in "{[") - (sign in "}]")
        if sign == "," and depth <= 0:
            words.append("")
        else:
            words[-1] += sign
    return [word.strip() for word in words if word.strip()]


def is_source(word: str) -> bool:
    """Whether a word names a module that must be made to be known, and no model of the catalogue or a YAML file."""
    module = word.partition("?")[0]
    if module.startswith((TIMM, OPEN_CLIP, HUB)) or FACTORY.fullmatch(module):
        return True
    return not module.endswith((".yaml", ".yml")) and is_folder(module) and module not in catalog()


def is_folder(path: str) -> bool:
    """Whether it is a folder; false for a name that no file can have."""
    try:
        return Path(path).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


def _resolve_word(word: str, inspect: Inspect | None) -> list[AnySpec]:
    if is_source(word):
        described = Path(word).expanduser() / "model.yaml"
        if "?" not in word and is_folder(word) and described.is_file():
            return [read_spec(described)]
        if inspect is None:
            raise InputError(
                f"--models: {quoted(word)} is an external module, which only vlbench run, count, init and ab take; "
                "models of the catalogue work here (vlbench list shows all)"
            )
        return [inspect(word)]
    if word.endswith((".yaml", ".yml")) or "/" in word:
        return [read_spec(Path(word))]
    if any(sign in word for sign in "*?["):
        matched = [spec for name, spec in catalog().items() if fnmatch.fnmatch(name, word)]
        if not matched:
            raise InputError(f"--models: no model matches {quoted(word)}; see: vlbench list")
        return matched
    by_word = {alias: spec for spec in catalog().values() for alias in (spec.name, *spec.aliases)}
    if word not in by_word:
        shown = "vlbench list shows all; timm:NAME works, too"
        raise InputError(f"--models: no model {quoted(word)}; {nearest(word, by_word)} ({shown})")
    return [by_word[word]]


def read_spec(path: Path) -> AnySpec:
    """Reads one model file. Raises SpecError, one line with the file, the key and what would work."""
    content = read_mapping(path, yaml_files.MODEL)
    return _validated(path, content, schema_of(content))


def read_yaml(path: Path, schema: type[Schema], expected: str) -> Schema:
    """Reads one YAML file and validates it; `expected` says in messages what the file should be.

    Raises SpecError as `read_spec` does.
    """
    return _validated(path, read_mapping(path, expected), schema)


def _validated(path: Path, content: dict[str, Any], schema: type[Schema]) -> Schema:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error, schema)}") from error


def describe(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first mistake as `key: problem`, and how many more there are. Unknown keys come first."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first, more = details[0], len(details) - 1
    path, parent = _follow(first["loc"], schema)
    key = shortened(".".join(path))
    if first["type"] == "extra_forbidden":
        problem = f"unknown key {key!r}; {nearest(path[-1], parent.model_fields)}"
    elif first["type"] == "missing":
        problem = f"the key {key!r} is missing"
    elif first["type"] == "union_tag_not_found":
        problem = f"the key {key + '.kind'!r} is missing"
    elif first["type"] == "union_tag_invalid":
        known = [tag.strip(" '") for tag in first["ctx"]["expected_tags"].split(",")]
        problem = f"{key}.kind: unknown {quoted(first['ctx']['tag'])}; {nearest(first['ctx']['tag'], known)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        message = shortened(message[:1].lower() + message[1:], LONGEST_LIST)
        value = first["input"] if isinstance(first["input"], str | int | float | bool) else None
        problem = f"{key + ': ' if key else ''}{message}{f', not {quoted(value)}' if value is not None else ''}"
    return problem + (f" (and {more} more)" if more else "")


def _follow(location: tuple[int | str, ...], schema: type[BaseModel]) -> tuple[list[str], type[BaseModel]]:
    """The keys of a pydantic error location, without tags of unions, and the schema that the last key belongs to."""
    path: list[str] = []
    parent = schema
    by_tag: dict[str, type[BaseModel]] = {}
    for step in map(str, location):
        if step in by_tag:
            schema, by_tag = by_tag[step], {}
            continue
        path.append(step)
        parent = schema
        field = schema.model_fields.get(step)
        if field is None:
            continue
        models = list(_schemas_in(field.annotation))
        if len(models) > 1:
            by_tag = {tag: kind for kind in models for tag in get_args(kind.model_fields["kind"].annotation)}
        elif models:
            schema = models[0]
    return path, parent


def _schemas_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Every schema in an annotation, also within unions and optional types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _schemas_in(part)

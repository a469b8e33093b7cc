"""Finds model files by name, alias, glob or path, and turns what is wrong with one into a single line."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vlbench.errors import InputError, SpecError
from vlbench.specs import ModelSpec

_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def models_folder() -> Path:
    """`models/` of the checkout, or the copy that an installed package carries."""
    package = Path(__file__).resolve().parent
    for folder in (package / "_models", package.parent / "models"):
        if folder.is_dir():
            return folder
    raise InputError(f"{package}: no models/ folder beside the package; reinstall vlbench")


def nearest(word: str, known: Iterable[str], *, amount: int = 1) -> str:
    """`did you mean X?`, or the known words where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=amount, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


@cache
def catalog() -> dict[str, ModelSpec]:
    """Every model of `models/`, by its name, sorted."""
    specs = {spec.name: spec for spec in map(read_spec, sorted(models_folder().glob("*.yaml")))}
    words = [word for spec in specs.values() for word in (spec.name, *spec.aliases)]
    doubled = {word for word in words if words.count(word) > 1}
    if doubled:
        raise SpecError(f"{models_folder()}: more than one model is called {', '.join(sorted(doubled))}")
    return specs


def resolve(names: str) -> list[ModelSpec]:
    """The models that a comma-separated list of names, aliases, globs and YAML paths means, each once, in its order.

    Raises InputError for a word that means none.
    """
    found: dict[str, ModelSpec] = {}
    for word in filter(None, (part.strip() for part in names.split(","))):
        for spec in _resolve_word(word):
            if spec.name in found and found[spec.name].hash() != spec.hash():
                raise InputError(f"--models: two different models are called {spec.name}; rename one")
            found[spec.name] = spec
    if not found:
        raise InputError("--models: no model named; --models vilt,uniter works, and vlbench list shows all")
    return list(found.values())


def _resolve_word(word: str) -> list[ModelSpec]:
    if word.endswith((".yaml", ".yml")) or "/" in word:
        return [read_spec(Path(word))]
    if any(sign in word for sign in "*?["):
        matched = [spec for name, spec in catalog().items() if fnmatch.fnmatch(name, word)]
        if not matched:
            raise InputError(f"--models: no model matches {word!r}; see: vlbench list")
        return matched
    by_word = {alias: spec for spec in catalog().values() for alias in (spec.name, *spec.aliases)}
    if word not in by_word:
        raise InputError(f"--models: no model {word!r}; {nearest(word, by_word)} (vlbench list shows all)")
    return [by_word[word]]


def read_spec(path: Path) -> ModelSpec:
    """Reads one YAML file. Raises SpecError, in one line, that names the file, the key and what would work."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not a text file in UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise SpecError(f"{path}:{where} not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: not a model: the file must be a mapping with name, family, input, visual, ...")
    try:
        return ModelSpec.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error, ModelSpec)}") from error


def describe(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first thing that is wrong, unknown keys first, as `key: what (what would work)`."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first, more = details[0], len(details) - 1
    key = ".".join(str(part) for part in _without_tags(first["loc"], schema))
    if first["type"] == "extra_forbidden":
        known = _schema_at(first["loc"][:-1], schema).model_fields
        what = f"unknown key {key!r}; {nearest(str(first['loc'][-1]), known)}"
    elif first["type"] == "missing":
        what = f"the key {key!r} is missing"
    else:
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        value = first["input"] if isinstance(first["input"], str | int | float | bool) else None
        what = f"{key + ': ' if key else ''}{message}{f', not {value!r}' if value is not None else ''}"
    return what + (f" (and {more} more)" if more else "")


def _schema_at(location: tuple[Any, ...], schema: type[BaseModel]) -> type[BaseModel]:
    """The schema that a pydantic error location leads to; a discriminated union adds its tag to the location."""
    for step in location:
        field = schema.model_fields.get(str(step))
        if field is None:
            continue  # the tag of the union member that the step before it chose
        members = [kind for kind in (get_args(field.annotation) or (field.annotation,)) if isinstance(kind, type)]
        models = [kind for kind in members if issubclass(kind, BaseModel)]
        if len(models) > 1:
            following = location[location.index(step) + 1]
            models = [kind for kind in models if following in get_args(kind.model_fields["kind"].annotation)]
        schema = models[0]
    return schema


def _without_tags(location: tuple[Any, ...], schema: type[BaseModel]) -> list[Any]:
    kept: list[Any] = []
    for index, step in enumerate(location):
        parent = _schema_at(location[:index], schema) if index else schema
        is_tag = index > 0 and step not in parent.model_fields and _is_union(location[:index], schema)
        if not is_tag:
            kept.append(step)
    return kept


def _is_union(location: tuple[Any, ...], schema: type[BaseModel]) -> bool:
    parent = _schema_at(location[:-1], schema)
    field = parent.model_fields.get(str(location[-1]))
    return field is not None and field.discriminator is not None

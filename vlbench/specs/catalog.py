"""Finds model files by name, alias, glob or path, and turns what is wrong with one into a single line."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from vlbench.errors import InputError, SpecError
from vlbench.specs import AnySpec, schema_of

Schema = TypeVar("Schema", bound=BaseModel)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeys(_Loader):
    """YAML forbids a key twice in one mapping; PyYAML takes the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} a second time in one mapping; keep one", problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


@cache
def models_folder() -> Path:
    """`models/` of the checkout, or the copy that an installed package carries."""
    return data_folder("_models", "models")


def data_folder(installed: str, checked_out: str) -> Path:
    """A folder of YAML files: within an installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / installed, package.parent / checked_out):
        if folder.is_dir():
            return folder
    raise InputError(f"{package}: no {checked_out}/ folder beside the package; reinstall vlbench")


def nearest(word: str, known: Iterable[str], *, amount: int = 1) -> str:
    """`did you mean X?`, or the known words where none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=amount, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"


def index_by_name(specs: Sequence[AnySpec]) -> dict[str, int]:
    """The index of each model, by its name and by its aliases."""
    return {word: index for index, spec in enumerate(specs) for word in (spec.name, *spec.aliases)}


def unknown_model(option: str, name: str, known: Iterable[str]) -> InputError:
    """For an option MODEL=... that names none of the models asked for."""
    return InputError(f"{option}: {name!r} is none of the models asked for; {nearest(name, known)}")


@cache
def catalog() -> dict[str, AnySpec]:
    """Every model of `models/`, by its name, sorted."""
    specs = sorted(map(read_spec, models_folder().glob("*.yaml")), key=lambda spec: spec.name)
    words = [word for spec in specs for word in (spec.name, *spec.aliases)]
    doubled = {word for word in words if words.count(word) > 1}
    if doubled:
        raise SpecError(f"{models_folder()}: more than one model is called {', '.join(sorted(doubled))}")
    return {spec.name: spec for spec in specs}


def resolve(names: str) -> list[AnySpec]:
    """The models that a comma-separated list of names, aliases, globs and YAML paths means, each once, in its order.

    Raises InputError for a word that means none.
    """
    found: dict[str, AnySpec] = {}
    for word in filter(None, (part.strip() for part in names.split(","))):
        for spec in _resolve_word(word):
            if spec.name in found and found[spec.name].hash() != spec.hash():
                raise InputError(f"--models: two different models are called {spec.name}; rename one")
            found[spec.name] = spec
    if not found:
        raise InputError("--models: no model named; --models vilt,uniter works, and vlbench list shows all")
    return list(found.values())


def _resolve_word(word: str) -> list[AnySpec]:
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


def read_spec(path: Path) -> AnySpec:
    """Reads one model file. Raises SpecError, in one line, that names the file, the key and what would work."""
    content = read_mapping(path, "a model: the file must be a mapping with name, family, input, visual, ...")
    return _validated(path, content, schema_of(content))


def read_yaml(path: Path, schema: type[Schema], what: str) -> Schema:
    """Reads one YAML file against a schema; `what` says what it ought to be. Raises SpecError as `read_spec` does."""
    return _validated(path, read_mapping(path, what), schema)


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """A YAML file that is a mapping, as `what` says it ought to be. Raises SpecError as `read_spec` does."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not a text file in UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:  # a scalar such as 2024-13-45 is a plain ValueError
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SpecError(f"{path}:{where} not valid YAML: {problem}") from error
    if not isinstance(content, dict):
        raise SpecError(f"{path}: not {what}")
    return content


def _validated(path: Path, content: dict[str, Any], schema: type[Schema]) -> Schema:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{path}: {describe(error, schema)}") from error


def describe(error: ValidationError, schema: type[BaseModel]) -> str:
    """The first thing that is wrong, unknown keys first, as `key: what (what would work)`."""
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first, more = details[0], len(details) - 1
    path, parent = _follow(first["loc"], schema)
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        what = f"unknown key {key!r}; {nearest(path[-1], parent.model_fields)}"
    elif first["type"] == "missing":
        what = f"the key {key!r} is missing"
    elif first["type"] == "union_tag_not_found":
        what = f"the key {key + '.kind'!r} is missing"
    elif first["type"] == "union_tag_invalid":
        known = [tag.strip(" '") for tag in first["ctx"]["expected_tags"].split(",")]
        what = f"{key}.kind: unknown {first['ctx']['tag']!r}; {nearest(first['ctx']['tag'], known)}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        value = first["input"] if isinstance(first["input"], str | int | float | bool) else None
        what = f"{key + ': ' if key else ''}{message}{f', not {value!r}' if value is not None else ''}"
    return what + (f" (and {more} more)" if more else "")


def _follow(location: tuple[int | str, ...], schema: type[BaseModel]) -> tuple[list[str], type[BaseModel]]:
    """The keys of a pydantic error location, without the tags of unions, and the schema that the last key is in."""
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
    """Every schema within an annotation, however it is nested in unions and optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _schemas_in(part)

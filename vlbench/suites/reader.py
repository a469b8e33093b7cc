"""Finds suites by name, glob or path, and reads each with the models that it names."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vlbench.catalog import catalog, data_folder, describe, nearest, read_spec, read_yaml
from vlbench.errors import InputError, SpecError
from vlbench.specs import AnySpec
from vlbench.suites.schema import CATEGORIES, Category, Row, Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSuite:
    """A suite, and the model of each row that has one, by the row's label, with its `set` applied."""

    suite: Suite
    path: Path
    specs: dict[str, AnySpec]


@cache
def suites_folder() -> Path:
    """`benchmarks/` of the checkout, or the copy that an installed package carries."""
    return data_folder("_benchmarks", "benchmarks")


def suite_paths() -> dict[str, Path]:
    """The file of every suite, by its name, sorted."""
    return {path.stem: path for path in sorted(suites_folder().glob("*.yaml"))}


def resolve_suites(words: Sequence[str]) -> list[LoadedSuite]:
    """The suites that names, globs and paths mean, each once, in their order; all where there are none.

    Raises InputError for a word that means none, or a suite that does not hold together.
    """
    found: dict[str, LoadedSuite] = {}
    for path in [path for word in (words or ("*",)) for path in _paths_of(word)]:
        loaded = read_suite(path)
        name = loaded.suite.name
        if name in found and found[name].path.resolve() != path.resolve():
            raise InputError(f"{path}: another suite is called {name} too; rename one")
        found[name] = loaded
    return list(found.values())


def _paths_of(word: str) -> list[Path]:
    if word.endswith((".yaml", ".yml")) or "/" in word:
        return [Path(word)]
    known = suite_paths()
    if any(sign in word for sign in "*?["):
        matched = [path for name, path in known.items() if fnmatch.fnmatch(name, word)]
        if not matched:
            raise InputError(f"reproduce: no suite matches {word!r}; see: vlbench list suites")
        return matched
    if word not in known:
        raise InputError(f"reproduce: no suite {word!r}; {nearest(word, known)} (vlbench list suites shows all)")
    return [known[word]]


def read_suite(path: Path) -> LoadedSuite:
    """Reads one file. Raises SpecError, in one line, that names the file, the key and what would work."""
    suite = read_yaml(path, Suite, "a suite: the file must be a mapping with name, title, source, columns, rows, ...")
    if suite.name != path.stem:
        raise SpecError(f"{path}: name is {suite.name!r}, but the file's name says {path.stem!r}; make them the same")
    specs = {row.label: _spec_of(row, path) for row in suite.rows if row.model}
    return LoadedSuite(suite=suite, path=path, specs=specs)


def _spec_of(row: Row, path: Path) -> AnySpec:
    assert row.model
    where = f"{path}: row {row.label!r}"
    if row.model.endswith((".yaml", ".yml")):
        spec = read_spec(path.parent / row.model)
    elif row.model in catalog():
        spec = catalog()[row.model]
    else:
        raise SpecError(f"{where}: no model {row.model!r}; {nearest(row.model, catalog())}")
    if not row.set:
        return spec
    content = spec.model_dump(mode="json")
    for key, value in row.set.items():
        _put(content, key, value, f"{where}: set")
    try:
        return type(spec).model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: set: {describe(error, type(spec))}") from error


def _put(content: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    """Sets `visual.rpn.proposals` within nested mappings; the schema says whether its last step exists."""
    *steps, last = dotted.split(".")
    for step in steps:
        inner = content.get(step)
        if not isinstance(inner, dict):
            maps = [name for name, part in content.items() if isinstance(part, dict)]
            raise SpecError(f"{where}: no part {step!r} in {dotted!r}; {nearest(step, maps)}")
        content = inner
    content[last] = value


def parse_categories(text: str) -> set[Category]:
    """`params,flops` as a set. Raises InputError for a category that there is not."""
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    for word in words:
        if word not in CATEGORIES:
            raise InputError(f"--cells: no category {word!r}; {nearest(word, CATEGORIES)}")
    if not words:
        raise InputError(f"--cells: names no category; known: {', '.join(CATEGORIES)}")
    return {category for category in CATEGORIES if category in words}

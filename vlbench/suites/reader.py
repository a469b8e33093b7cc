"""Finds suites by name, glob or path, and reads them with the models that they name."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from vlbench.errors import InputError, SpecError, nearest, quoted
from vlbench.files.yaml_files import data_folder, read_mapping
from vlbench.specs import AnySpec
from vlbench.specs.catalog import catalog, describe, read_spec, read_yaml
from vlbench.suites.ablations import Ablation
from vlbench.suites.schema import CATEGORIES, Category, Row, Suite

SUITE = "a suite: the file must be a mapping with name, title, source, columns, rows, ..."
ABLATION = "ablation"  # the `kind` of a suite that is trained, and the prefix of its name


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAblation:
    """A suite whose arms are trained, and its file."""

    suite: Ablation
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSuite:
    """A suite, its file, and the model of each row that has one, with the row's `set` applied, by label."""

    suite: Suite
    path: Path
    specs: dict[str, AnySpec]


Loaded = TypeVar("Loaded", LoadedSuite, LoadedAblation)


@cache
def suites_folder() -> Path:
    """`benchmarks/` of the checkout, or the copy in an installed package."""
    return data_folder("_benchmarks", "benchmarks")


def suite_paths() -> dict[str, Path]:
    """The files of the suites that are measured, by name, sorted."""
    return {name: path for name, path in _all_paths().items() if not name.startswith(ABLATION)}


def ablation_paths() -> dict[str, Path]:
    """The files of the suites that are trained, by name, sorted."""
    return {name: path for name, path in _all_paths().items() if name.startswith(ABLATION)}


def _all_paths() -> dict[str, Path]:
    return {path.stem: path for path in sorted(suites_folder().glob("*.yaml"))}


def resolve_named(words: Sequence[str]) -> list[LoadedSuite] | list[LoadedAblation]:
    """The suites that names, globs and paths select, in order, each once; without words, all that are measured.

    Suites that are trained take long. Only their name, or a glob that begins with `ablation`, selects them.

    Raises InputError for a word that matches no suite, for an invalid suite, and for suites of both kinds at once.
    """
    measured: dict[str, LoadedSuite] = {}
    trained: dict[str, LoadedAblation] = {}
    for path in [path for word in (words or ("*",)) for path in _paths_of(word)]:
        if read_mapping(path, SUITE).get("kind") == ABLATION:
            _add(trained, read_ablation(path))
        else:
            _add(measured, read_suite(path))
    if measured and trained:
        raise InputError(
            f"reproduce: {next(iter(trained))} is trained and {next(iter(measured))} is not; run them apart"
        )
    return list(trained.values()) if trained else list(measured.values())


def resolve_suites(words: Sequence[str]) -> list[LoadedSuite]:
    """Like `resolve_named`, for suites that are measured. Raises InputError also for one that is trained."""
    suites = [suite for suite in resolve_named(words) if isinstance(suite, LoadedSuite)]
    if not suites:
        raise InputError(f"{words[0]}: is trained, not measured; use vlbench reproduce")
    return suites


def _add(selected: dict[str, Loaded], loaded: Loaded) -> None:
    name = loaded.suite.name
    if name in selected and selected[name].path.resolve() != loaded.path.resolve():
        raise InputError(f"{loaded.path}: another suite is called {name}, too; rename one")
    selected[name] = loaded


def _paths_of(word: str) -> list[Path]:
    if word.endswith((".yaml", ".yml")) or "/" in word:
        return [Path(word)]
    known = _all_paths()
    if any(sign in word for sign in "*?["):
        candidates = known if word.startswith(ABLATION) else suite_paths()
        matched = [path for name, path in candidates.items() if fnmatch.fnmatch(name, word)]
        if not matched:
            raise InputError(f"reproduce: no suite matches {quoted(word)}; see: vlbench list suites")
        return matched
    if word not in known:
        raise InputError(f"reproduce: no suite {quoted(word)}; {nearest(word, known)} (vlbench list suites shows all)")
    return [known[word]]


def read_ablation(path: Path) -> LoadedAblation:
    """Reads one file. Raises SpecError, in one line, that names the file, the key and what would work."""
    suite = read_yaml(path, Ablation, "an ablation: the file must be a mapping with name, title, source, arms, ...")
    _check_name(suite.name, path)
    return LoadedAblation(suite=suite, path=path)


def read_suite(path: Path) -> LoadedSuite:
    """Reads one file. Raises SpecError, in one line, that names the file, the key and what would work."""
    suite = read_yaml(path, Suite, SUITE)
    _check_name(suite.name, path)
    specs = {row.label: _spec_of(row, path) for row in suite.rows if row.model}
    return LoadedSuite(suite=suite, path=path, specs=specs)


def _check_name(name: str, path: Path) -> None:
    if name != path.stem:
        raise SpecError(
            f"{path}: name is {quoted(name)}, but the file is called {quoted(path.stem)}; make them the same"
        )


def _spec_of(row: Row, path: Path) -> AnySpec:
    assert row.model
    where = f"{path}: row {quoted(row.label)}"
    if row.model.endswith((".yaml", ".yml")):
        spec = read_spec(path.parent / row.model)
    elif row.model in catalog():
        spec = catalog()[row.model]
    else:
        raise SpecError(f"{where}: no model {quoted(row.model)}; {nearest(row.model, catalog())}")
    if not row.set:
        return spec
    content = spec.model_dump(mode="json")
    for key, value in row.set.items():
        put(content, key, value, f"{where}: set")
    try:
        return type(spec).model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: set: {describe(error, type(spec))}") from error


def put(content: dict[str, Any], dotted: str, value: Any, where: str) -> None:
    """Sets a dotted key such as `visual.rpn.proposals` in nested mappings. The schema checks its last step later.

    Raises SpecError, beginning with `where`, for a step that is not there.
    """
    *steps, last = dotted.split(".")
    for step in steps:
        inner = content.get(step)
        if not isinstance(inner, dict):
            maps = [name for name, part in content.items() if isinstance(part, dict)]
            raise SpecError(f"{where}: no part {quoted(step)} in {quoted(dotted)}; {nearest(step, maps)}")
        content = inner
    content[last] = value


def parse_categories(text: str) -> set[Category]:
    """`params,flops` as a set. Raises InputError for an unknown category, and where there is none."""
    words = [word for word in (part.strip() for part in text.split(",")) if word]
    for word in words:
        if word not in CATEGORIES:
            raise InputError(f"--cells: no category {word!r}; {nearest(word, CATEGORIES)}")
    if not words:
        raise InputError(f"--cells: names no category; known: {', '.join(CATEGORIES)}")
    return {category for category in CATEGORIES if category in words}

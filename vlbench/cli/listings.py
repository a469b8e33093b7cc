"""`vlbench list`: the models and suites that can be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import typer

from vlbench.cli.commands import HELP_IS_OFF, NamingGroup
from vlbench.errors import SpecError
from vlbench.files import yaml_files
from vlbench.files.yaml_files import read_mapping
from vlbench.tables.table import Table, TableColumn
from vlbench.tables.writers import to_text

if TYPE_CHECKING:
    from vlbench.suites.schema import Source

# The keys that a model file may have. To be quick, `vlbench list` reads model files without their schemas; these it
# imports only where a file is not as expected, for their message.
MODEL_KEYS = frozenset(
    "name aliases family archetype source note table6 seed weights input text visual interaction head heads "
    "transformers config features patch_size inputs options call output gives answers answers_setting stages "
    "small module model_args".split()
)

app = typer.Typer(
    cls=NamingGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"default_map": {**HELP_IS_OFF, "models": HELP_IS_OFF, "suites": HELP_IS_OFF}},
)


@app.callback(invoke_without_command=True)
def list_(context: typer.Context) -> None:
    """List the models or the suites that can be measured; models by default."""
    if context.invoked_subcommand is None:
        print_models()


@app.command("models")
def print_models() -> None:
    """List the architectures in models/."""
    names = ("MODEL", "ALIAS", "FAMILY", "INPUT", "TEXT", "SOURCE")
    print(to_text([Table(columns=_text_columns(names), rows=tuple(_model_rows()))]), end="")


@app.command("suites")
def print_suites() -> None:
    """List the suites in benchmarks/."""
    from vlbench.suites.reader import ablation_paths, read_ablation, read_suite, suite_paths

    rows: list[tuple[Any, ...]] = []
    for path in suite_paths().values():
        suite = read_suite(path).suite
        rows.append((suite.name, len(suite.rows), len(suite.claims), _reproduces(suite.source), suite.title))
    for path in ablation_paths().values():
        trained = read_ablation(path).suite
        arms = len(trained.arms) * len(trained.models)
        rows.append((trained.name, arms, None, _reproduces(trained.source), f"{trained.title} (trained)"))
    names = ("SUITE", "ROWS", "CLAIMS", "REPRODUCES", "TITLE")
    print(to_text([Table(columns=_text_columns(names), rows=tuple(rows))]), end="")


def _text_columns(names: Sequence[str]) -> tuple[TableColumn[Any], ...]:
    return tuple(TableColumn(name, itemgetter(index)) for index, name in enumerate(names))


def _model_rows() -> list[tuple[Any, ...]]:
    """One row per model, sorted by name. Raises SpecError as `catalog` does."""
    try:
        models = [read_mapping(path, yaml_files.MODEL) for path in yaml_files.models_folder().glob("*.yaml")]
        names = [name for model in models for name in (model["name"], *model.get("aliases", ()))]
        if all(map(_is_plausible, models)) and len(set(names)) == len(names):
            return sorted(map(_model_row, models))
    except (SpecError, KeyError, TypeError, AttributeError):
        pass
    from vlbench.specs.catalog import catalog  # slow, but says exactly what is wrong with which file

    return [_model_row(spec.model_dump(mode="json")) for spec in catalog().values()]


def _is_plausible(model: Mapping[str, Any]) -> bool:
    """Whether a model file has no unknown key, and what the table shows has the right type."""
    aliases, size = model.get("aliases", []), model["input"]["image_size"]
    return (
        model.keys() <= MODEL_KEYS
        and all(isinstance(values, list) for values in (aliases, size))
        and all(isinstance(text, str) for text in (model["name"], model["family"], model["source"], *aliases))
        and all(isinstance(number, int) for number in (*size, model["input"].get("text_tokens", 0)))
    )


def _model_row(model: Mapping[str, Any]) -> tuple[Any, ...]:
    size = "x".join(map(str, model["input"]["image_size"]))
    aliases = ", ".join(model.get("aliases", ())) or None
    return model["name"], aliases, model["family"], size, model["input"].get("text_tokens") or None, model["source"]


def _reproduces(source: Source) -> str:
    return ", ".join(filter(None, (source.paper.partition(" (")[0], source.where)))

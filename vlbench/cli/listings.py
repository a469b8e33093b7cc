"""`vlbench list`: the models and suites that can be measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from vlbench import yaml_files
from vlbench.cli.commands import HELP_IS_OFF
from vlbench.errors import SpecError
from vlbench.yaml_files import read_mapping

if TYPE_CHECKING:
    from vlbench.suites.schema import Source

# The keys that a model file may have. To be quick, `vlbench list` reads model files without their schemas; these it
# imports only where a file is not as expected, for their message.
MODEL_KEYS = frozenset(
    "name aliases family archetype source note table6 seed weights input text visual interaction head heads "
    "transformers config features patch_size inputs options call output gives answers answers_setting stages "
    "small".split()
)

app = typer.Typer(
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
    print(_aligned([("MODEL", "ALIAS", "FAMILY", "INPUT", "TEXT", "SOURCE"), *_model_rows()]))


@app.command("suites")
def print_suites() -> None:
    """List the suites in benchmarks/."""
    from vlbench.suites.reader import ablation_paths, read_ablation, read_suite, suite_paths

    rows = [("SUITE", "ROWS", "CLAIMS", "REPRODUCES", "TITLE")]
    for path in suite_paths().values():
        suite = read_suite(path).suite
        rows.append((suite.name, str(len(suite.rows)), str(len(suite.claims)), _reproduces(suite.source), suite.title))
    for path in ablation_paths().values():
        trained = read_ablation(path).suite
        arms = str(len(trained.arms) * len(trained.models))
        rows.append((trained.name, arms, "-", _reproduces(trained.source), f"{trained.title} (trained)"))
    print(_aligned(rows))


def _model_rows() -> list[tuple[str, ...]]:
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


def _model_row(model: Mapping[str, Any]) -> tuple[str, ...]:
    size = "x".join(map(str, model["input"]["image_size"]))
    text = str(model["input"].get("text_tokens") or "-")
    aliases = ", ".join(model.get("aliases", ())) or "-"
    return model["name"], aliases, model["family"], size, text, model["source"]


def _reproduces(source: Source) -> str:
    return ", ".join(filter(None, (source.paper.partition(" (")[0], source.where)))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + "  " + row[-1] for row in rows
    )

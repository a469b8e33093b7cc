"""What tests of several folders need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlbench.specs.catalog import catalog

# One model for each way to see and each way to join text and image, and three classes of transformers
TYPICAL = frozenset(
    "vit-b32 vilt-b32 clip-vit-b32 pixelbert-r50 clip-rn50 vsepp uniter-base-table6 visualbert lxmert-table6 "
    "vilbert-table6 scan pixelbert-convnext-tiny hf-vilt-b32 hf-clip-vit-b32 hf-lxmert-vqa".split()
)


def each_model(values: Iterable[str | tuple]) -> list[Any]:
    """Names of models as parameters of a test, or tuples that begin with one: all but the typical models are slow."""
    rows = [(value,) if isinstance(value, str) else value for value in values]
    return [pytest.param(*row, id=row[0], marks=() if row[0] in TYPICAL else pytest.mark.slow) for row in rows]


def others_slow(values: Iterable[Any], *, first: int = 1) -> list[Any]:
    """Parameters of a test of which the first run by default, and the others are slow."""
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*row, marks=() if place < first else pytest.mark.slow) for place, row in enumerate(rows)]


@cache
def counts_of(name: str) -> Any:
    """The `Counts` of a model of the catalog at its full size."""
    from vlbench.architectures.count import count  # noqa: PLC0415  slow to import, and many tests need none of it

    return count(catalog()[name])


def tiny(model: str, /, **changes: object) -> Any:
    """A model of the catalog at its tiny size."""
    return catalog()[model].tiny().model_copy(update=changes)


def write_tiny(folder: Path, model: str = "vilt-b32", /, **changes: object) -> Path:
    """A tiny copy of a model as a YAML file."""
    content = catalog()[model].tiny().model_dump(mode="json", exclude_none=True) | changes
    return write_yaml(folder / f"{content['name']}.yaml", content)


def write_yaml(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def write_lines(path: Path, records: Iterable[Any]) -> Path:
    """One line per record: a text as it stands, a result as it is stored, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line_of(record)}\n" for record in records), encoding="utf-8")
    return path


def line_of(record: Any) -> str:
    if isinstance(record, str):
        return record
    return record.to_line() if hasattr(record, "to_line") else json.dumps(record)


def write_results(folder: Path, results: Iterable[Any]) -> Path:
    """A results folder with these lines in its `cells.jsonl`."""
    write_lines(folder / "cells.jsonl", results)
    return folder

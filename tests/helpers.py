"""What tests of several folders need."""

from __future__ import annotations

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
    "vilbert-table6 scan hf-vilt-b32 hf-clip-vit-b32 hf-lxmert-vqa".split()
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


def write_tiny(folder: Path, model: str, /, **changes: object) -> Path:
    """A tiny copy of a model as a YAML file."""
    content = catalog()[model].tiny().model_dump(mode="json", exclude_none=True) | changes
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path

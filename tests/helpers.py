"""What tests of several folders need."""

from __future__ import annotations

from collections.abc import Iterable
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


def each_model(names: Iterable[str]) -> list[Any]:
    """Values for a test's parameter `name`: all but the typical models are slow."""
    return [name if name in TYPICAL else pytest.param(name, marks=pytest.mark.slow) for name in names]


def write_tiny(folder: Path, model: str, /, **changes: object) -> Path:
    """A tiny copy of a model as a YAML file."""
    content = catalog()[model].tiny().model_dump(mode="json", exclude_none=True) | changes
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path

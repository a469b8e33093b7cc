"""Model files of the catalog with changes, and the one line that refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlbench.errors import SpecError
from vlbench.files.yaml_files import models_folder
from vlbench.specs.catalog import read_spec

ABSENT = object()


def changed(name: str, changes: dict[str, Any], separator: str) -> dict[str, Any]:
    """A model file whose values at these paths of keys are others, or gone."""
    model: dict[str, Any] = yaml.safe_load((models_folder() / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(separator)
        part = model
        for parent in parents:
            part = part[parent]
        if value is ABSENT:
            del part[last]
        else:
            part[last] = value
    return model


def error_of(path: Path) -> str:
    """The message, which is one line that opens with the file."""
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}:")
    return message.removeprefix(f"{path}:").strip()


def error_after(tmp_path: Path, name: str, changes: dict[str, Any], separator: str = ".") -> str:
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(changed(name, changes, separator)), encoding="utf-8")
    return error_of(path)

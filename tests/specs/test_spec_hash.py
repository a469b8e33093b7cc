"""A model's hash is of what is measured, and of nothing that only describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from vlbench.files.yaml_files import models_folder
from vlbench.specs.catalog import catalog, read_spec


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in leaves(part, f"{path}.{name}").items()}
    return {path.removeprefix("."): value}


def other(value: Any) -> Any:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return (*value[:-1], other(value[-1])) if value else ("x",)


DESCRIBES = {"aliases", "source", "note", "archetype", "table6", "heads"}


def describes(key: str) -> bool:
    """A model is measured on images of exactly `image_size`, whatever size they have where it answers about them."""
    return key.split(".")[0] in DESCRIBES or key.startswith("input.evaluation")


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", ["vilt-b32", "uniter-base", "pixelbert-r50-table6"])
def test_the_hash_changes_with_every_measured_field_and_with_no_describing_one(name: str) -> None:
    spec = catalog()[name]
    fields = leaves(spec.model_dump())
    assert {key.split(".")[0] for key in fields} & DESCRIBES == DESCRIBES
    for key, value in fields.items():
        model = spec.model_dump()
        part = model
        for parent in key.split(".")[:-1]:
            part = part[parent]
        part[key.split(".")[-1]] = other(value if value is not None else 1)
        different = deep_construct(spec, model)
        assert (different.hash() == spec.hash()) == describes(key), key


def deep_construct(part: Any, values: dict[str, Any]) -> Any:
    """The same parts with other values, unchecked: a hash is of what is written."""
    changed_fields = {
        key: deep_construct(getattr(part, key), value) if isinstance(value, dict) else value
        for key, value in values.items()
    }
    return part.model_copy(update=changed_fields)


def test_the_hash_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "reordered.yaml"
    content = yaml.safe_load((models_folder() / "uniter-base.yaml").read_text(encoding="utf-8"))
    reordered = dict(reversed(list(content.items())))
    path.write_text(yaml.safe_dump(reordered | {"seed": 0}, sort_keys=False), encoding="utf-8")
    assert read_spec(path).hash() == catalog()["uniter-base"].hash()


def test_published_hashes_stay() -> None:
    """Fields younger than a published result have defaults that change no hash."""
    published: dict[str, set[str]] = {}
    for path in models_folder().parent.glob("results/*/cells.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            cell = json.loads(line)
            published.setdefault(cell["model"], set()).add(cell["spec_hash"])
    assert published
    assert {name for name, hashes in published.items() if catalog()[name].hash() not in hashes} == set()


def test_weights_count_where_they_are_not_random() -> None:
    spec = catalog()["uniter-base"]
    told = spec.model_copy(update={"weights": "a.pt"})
    seen = spec.model_copy(update={"visual": spec.visual.model_copy(update={"weights": "a.pt"})})
    assert len({spec.hash(), told.hash(), seen.hash(), told.model_copy(update={"weights": "b.pt"}).hash()}) == 4

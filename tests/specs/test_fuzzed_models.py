"""1,000 damaged model files: each is refused in one line, or is a model that runs."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.architectures.examples import images_of, padded_text
from tests.helpers import tiny, write_yaml
from vlbench.architectures.build import build
from vlbench.errors import InputError
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import read_spec

MODELS = (
    "vilt-b32 pixelbert-r50 uniter-base grid-features-r101 xlxmert vilbert lxmert vsepp scan clip-vit-b32 clip-rn50"
)
NUMBERS = (0, 1, 2, 3, -1, 7, 64, 65_536, 10**9, 2**63, 2**64, 1e-12, 0.5, 1.5, -0.1, 1e308)
JUNK = (None, True, "", "12", "x" * 5000, "\u202e", "a\nb", [], [[]], {}, {"kind": "patch"}, {"a": {"b": [1, 2]}})
MOST_PARAMETERS, MOST_SIDE = 20_000_000, 256


def containers(value: Any) -> Iterator[dict[Any, Any] | list[Any]]:
    """Every mapping and list within a value."""
    if isinstance(value, dict | list):
        yield value
        for child in value.values() if isinstance(value, dict) else value:
            yield from containers(child)


def damage(content: dict[str, Any], generator: random.Random) -> None:
    """Deletes, replaces, moves, doubles, renames or nests one value."""
    part = generator.choice([each for each in containers(content) if each])
    key: Any = generator.choice(list(part)) if isinstance(part, dict) else generator.randrange(len(part))
    kind = generator.choice(("delete", "number", "number", "junk", "swap", "nest", "rename", "special"))
    if kind == "delete":
        del part[key]
    elif kind == "number":
        part[key] = generator.choice(NUMBERS)
    elif kind == "junk":
        part[key] = generator.choice(JUNK)
    elif kind == "swap":
        other = generator.choice([each for each in containers(content) if each])
        part[key] = copy.deepcopy(generator.choice(list(other.values()) if isinstance(other, dict) else other))
    elif kind == "nest":
        part[key] = {"nested": [copy.deepcopy(part[key])]}
    elif kind == "rename" and isinstance(part, dict):
        part[f"{key}x"] = part.pop(key)
    else:
        part[key] = generator.choice((float("nan"), float("inf"), -float("inf"), 10**400))


def runs(spec: ModelSpec) -> bool:
    """Whether one forward pass is finite; not tried for a model that is large."""
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build(spec).parameters())
    if parameters > MOST_PARAMETERS or max(spec.input.image_size) > MOST_SIDE or spec.visual.width > 4096:
        return True
    model = build(spec).eval()
    text = padded_text(spec.input.text_tokens, vocabulary=spec.text.vocabulary) if spec.text else None
    with torch.inference_mode():
        return bool(model(text, images_of(*[spec.input.image_size] * spec.images)).isfinite().all())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_damaged_model_file_is_refused_in_one_line_or_runs(tmp_path: Path, one_thread: None) -> None:
    generator = random.Random(18)
    contents = [tiny(name).model_dump(mode="json", exclude_none=True) for name in MODELS.split()]
    accepted = 0
    for number in range(1000):
        content = copy.deepcopy(contents[number % len(contents)])
        for _ in range(generator.choice((1, 1, 2, 3))):
            damage(content, generator)
        path = write_yaml(tmp_path / "damaged.yaml", content)
        try:
            spec = read_spec(path)
            assert isinstance(spec, ModelSpec)
            accepted += 1
            assert runs(spec), content
        except InputError as error:
            message = str(error).removeprefix(str(path))
            assert message.isprintable(), message
            assert len(message) <= 300, message
    assert 50 < accepted < 950

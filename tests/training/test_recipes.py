"""Recipes and presets: what can be asked for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.catalog import read_yaml
from vlbench.errors import InputError, SpecError
from vlbench.training.presets import Preset, read_preset
from vlbench.training.recipe import Recipe, parse_objectives


def test_objectives_as_they_are_named() -> None:
    assert parse_objectives("vqa:4, mlm,mrc-kl:0.5") == {"vqa": 4.0, "mlm": 1.0, "mrc-kl": 0.5}
    recipe = Recipe(shares={"vqa": 3.0, "mlm": 1.0, "mpp": 4.0})
    draws = [recipe.chosen("grid", draw / 100) for draw in range(100)]
    assert (draws.count("vqa"), draws.count("mlm")) == (75, 25)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mlk", "no such objective; did you mean mlm"),
        ("vqa:often", "'often' is no number; vqa:2 works"),
        ("vqa:0", "a share is more than 0"),
        (",", "none named"),
    ],
)
def test_objectives_that_are_none(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_objectives(text)


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"stages": ({"start": 5},)}, "first stage starts at sample 0"),
        ({"stages": ({"kinds": ("color",)},)}, "did you mean colour"),
        ({"stages": ({"most": 9},)}, "less than or equal to 8"),
        ({"shares": {"vqa": 0.0}}, "no objective has a share"),
    ],
)
def test_recipes_that_are_none(recipe: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe.model_validate(recipe)


def test_a_preset_that_is_none() -> None:
    with pytest.raises(InputError, match="--preset huge: no such preset; tiny, small, base work"):
        read_preset("huge")


def test_presets_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("image_sides: 128\n", encoding="utf-8")
    with pytest.raises(SpecError, match="image_side"):
        read_yaml(path, Preset, "a preset")

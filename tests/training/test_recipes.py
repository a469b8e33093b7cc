"""Recipes and presets: what can be asked for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError, SpecError
from vlbench.specs.catalog import read_yaml
from vlbench.training.presets import Preset, read_preset
from vlbench.training.recipe import Recipe, changed, parse_objectives, parse_recipe


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
        ({"alignment": 0.1}, "added to image-text matching, which has no share; the objectives vqa,itm work"),
    ],
)
def test_recipes_that_are_none(recipe: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe.model_validate(recipe)


def test_settings_of_a_recipe_as_words_or_in_a_file(tmp_path: Path) -> None:
    told = parse_recipe("alignment=0.1, augmentation=true,detector=half-trained")
    assert told == {"alignment": 0.1, "augmentation": True, "detector": "half-trained"}
    path = tmp_path / "own.yaml"
    path.write_text("whole_words: false\nstages: [{start: 0, most: 3}]\n", encoding="utf-8")
    recipe = changed(Recipe(sampled_pixels=5), parse_recipe(str(path)), str(path))
    assert (recipe.whole_words, recipe.stages[0].most, recipe.sampled_pixels) == (False, 3, 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("alignment", "--recipe alignment: has no value; NAME=VALUE works"),
        ("alignment=[", "--recipe alignment=\\[: '\\[' is no value"),
        ("aligment=0.1", "--recipe: unknown key 'aligment'; did you mean alignment"),
        ("sampled_pixels=0", "--recipe: sampled_pixels: .*greater than 0"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_settings_that_are_none(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        changed(Recipe(), parse_recipe(text), text)


def test_a_preset_that_is_none() -> None:
    with pytest.raises(InputError, match="--preset huge: no such preset; tiny, small, base work"):
        read_preset("huge")


def test_presets_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("image_sides: 128\n", encoding="utf-8")
    with pytest.raises(SpecError, match="image_side"):
        read_yaml(path, Preset, "a preset")

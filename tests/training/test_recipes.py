"""Recipes and presets: what they accept, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlbench.errors import InputError, SpecError
from vlbench.specs.catalog import read_yaml
from vlbench.training.preset import Preset, read_preset
from vlbench.training.recipe import Recipe, parse_objectives, parse_recipe, with_changes


def test_objectives_with_shares() -> None:
    assert parse_objectives("vqa:4, mlm,mrc-kl:0.5") == {"vqa": 4.0, "mlm": 1.0, "mrc-kl": 0.5}
    recipe = Recipe(shares={"vqa": 3.0, "mlm": 1.0, "mpp": 4.0})
    draws = [recipe.objective_for("grid", draw / 100) for draw in range(100)]
    assert (draws.count("vqa"), draws.count("mlm")) == (75, 25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlk", "no such objective; did you mean mlm"),
        ("vqa:often", "'often' is not a number; vqa:2 works"),
        ("vqa:0", "the share must be above 0"),
        (",", "none named"),
        ("vqa:inf", "the share must be above 0 and at most 1,000,000"),
        ("vqa:nan", "the share must be above 0"),
        ("vqa:1e7", "the share must be above 0 and at most 1,000,000"),
        ("vqa,mlm,vqa:2", "vqa is named twice"),
    ],
)
def test_bad_objectives_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_objectives(text)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"stages": ({"start": 5},)}, "first stage must start at sample 0"),
        ({"stages": ({"kinds": ("color",)},)}, "did you mean colour"),
        ({"stages": ({"most": 9},)}, "less than or equal to 8"),
        ({"shares": {"vqa": 0.0}}, "no objective has a share"),
        ({"shares": {"vqa": float("inf")}}, "should be a finite number"),
        ({"shares": {"vqa": 1e7}}, "less than or equal to 1000000"),
        ({"shares": {"vqa": True}}, "valid number"),
        ({"shares": {"itm": 1}, "alignment": float("inf")}, "should be a finite number"),
        ({"stages": ({}, {"start": 2**63})}, "less than 9223372036854775808"),
        ({"sampled_pixels": 10**9}, "less than or equal to 1000000"),
        ({"alignment": 0.1}, "added to image-text matching, which has no share; the objectives vqa,itm work"),
    ],
)
def test_bad_recipes_are_refused(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate(recipe)


def test_recipe_changes_from_the_command_or_a_file(tmp_path: Path) -> None:
    changes = parse_recipe("alignment=0.1, augmentation=true,detector=half-trained")
    assert changes == {"alignment": 0.1, "augmentation": True, "detector": "half-trained"}
    path = tmp_path / "own.yaml"
    path.write_text("whole_words: false\nstages: [{start: 0, most: 3}]\n", encoding="utf-8")
    recipe = with_changes(Recipe(sampled_pixels=5), parse_recipe(str(path)), str(path))
    assert (recipe.whole_words, recipe.stages[0].most, recipe.sampled_pixels) == (False, 3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alignment", "--recipe alignment: has no value; NAME=VALUE works"),
        ("alignment=[", "--recipe alignment=\\[: '\\[' is not a value"),
        ("alignment=!!bool maybe", "'!!bool maybe' is not a value"),
        ("alignment=!!int ''", "is not a value; a number, true or a word works"),
        ("alignment=2024-13-45", "'2024-13-45' is not a value"),
        ("alignment=" + "[" * 100_000, "is not a value"),
        ("alignment=" + "9" * 5_000, "is not a value"),
        ("alignment=0.1,alignment=0.2", "--recipe alignment: given twice"),
        ("aligment=0.1", "--recipe: unknown key 'aligment'; did you mean alignment"),
        ("sampled_pixels=0", "--recipe: sampled_pixels: .*greater than 0"),
        ("nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_bad_recipe_changes_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_changes(Recipe(), parse_recipe(text), text)


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="--preset huge: no such preset; tiny, small, base work"):
        read_preset("huge")


def test_presets_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("image_sides: 128\n", encoding="utf-8")
    with pytest.raises(SpecError, match="image_side"):
        read_yaml(path, Preset, "a preset")

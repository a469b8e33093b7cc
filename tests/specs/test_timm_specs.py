"""Model files with a timm model: what is refused before timm is imported, sizes of presets, and the hash."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from vlbench.specs import ModelSpec, TimmSpec
from vlbench.specs.catalog import catalog

VIT = {"kind": "timm", "model": "vit_tiny_patch16_224", "features": "tokens", "patch_size": 16}


def spec_of(**changes: Any) -> TimmSpec:
    return TimmSpec.model_validate({"kind": "timm", "model": "convnext_tiny"} | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": "tokens"}, "the key 'patch_size' is missing; features: tokens needs it"),
        ({"features": "pooled", "stage": 1}, "stage belongs to features: map or tokens"),
        ({"features": "pooled", "pool_size": 3}, "pool_size belongs to features: map, not to features: pooled"),
        (VIT | {"sampled_pixels": 7}, "sampled_pixels belongs to features: map, not to features: tokens"),
        ({"model_args": {"num_classes": 3}}, "num_classes is no argument that a model file can give"),
        ({"model": "../convnext"}, "should match pattern"),
        ({"stage": -1}, "greater than or equal to 0"),
        ({"presets": {"huge": {}}}, "'tiny', 'small' or 'base'"),
    ],
)
def test_what_no_timm_model_has_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec_of(**changes)


def test_the_family_follows_from_the_features() -> None:
    assert spec_of().family == "grid"
    assert spec_of(**VIT).family == "patch"
    assert spec_of(features="pooled").family == "grid"
    assert spec_of(**VIT | {"features": "pooled"}).family == "patch"
    content = catalog()["vilt-vit-tiny"].model_dump() | {"family": "grid"}
    with pytest.raises(ValidationError, match=r"visual\.kind is 'timm'; family: patch fits"):
        ModelSpec.model_validate(content)


def test_images_are_multiples_of_the_patch() -> None:
    spec_of(**VIT).check_image(32, 48)
    with pytest.raises(ValueError, match="no multiple of the 16-pixel patch; 32x48 works"):
        spec_of(**VIT).check_image(32, 50)
    spec_of().check_image(33, 50)


def test_a_presets_size_adds_arguments_or_names_another_model() -> None:
    arguments = {"depths": [1, 1, 1, 1], "drop_path_rate": 0.1}
    spec = spec_of(
        model_args=arguments,
        presets={"tiny": {"model_args": {"depths": [0, 1, 1, 1]}}, "small": {"model": "convnext_atto"}},
    )
    assert spec.sized("tiny").model_args == arguments | {"depths": [0, 1, 1, 1]}
    assert (spec.sized("small").model, spec.sized("small").model_args) == ("convnext_atto", {})
    assert spec.sized("base") == spec
    assert spec.tiny().model_args == spec.sized("tiny").model_args


def test_presets_are_no_part_of_the_hash() -> None:
    spec = catalog()["pixelbert-convnext-tiny"]
    without = spec.model_copy(update={"visual": spec.visual.model_copy(update={"presets": {}})})
    other = spec.model_copy(update={"visual": spec.visual.model_copy(update={"stage": 2})})
    assert spec.hash() == without.hash()
    assert spec.hash() != other.hash()


def test_reading_a_model_file_imports_no_timm() -> None:
    code = (
        "import sys; from vlbench.specs.catalog import catalog; catalog(); print({'timm', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

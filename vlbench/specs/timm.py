"""Any model of timm as a visual embedder. What only timm knows is checked when the model is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from vlbench.specs.base import RANDOM, TINY_WIDTH, Spec, VisualSpec, check_few_patches
from vlbench.specs.bounds import Amount, PoolSize, Side, Weights, Width

# What vlbench passes to timm by itself.
TAKEN = {"pretrained", "num_classes", "in_chans", "features_only", "out_indices", "global_pool", "checkpoint_path"}

TimmName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
PresetName = Literal["tiny", "small", "base"]


class TimmSize(Spec):
    """The size of a timm model under a preset: another name, arguments on top of `model_args`, or both.

    With another name the arguments stand alone.
    """

    model: TimmName | None = None
    model_args: Mapping[str, JsonValue] = {}


class TimmSpec(VisualSpec):
    """A model of timm without its classifier (timm.create_model).

    Args:
        model: its name in timm, such as `convnext_tiny`.
        features: what becomes tokens: the pixels of a feature `map`, the `tokens` of a transformer over patches with
            its class and register tokens, or the `pooled` feature, a single token.
        stage: of a map, which of timm's `feature_info`, from 0; by default the last. Of tokens, how many blocks run: 0
            gives the patch embedding with its positions; by default all blocks and the last norm.
        model_args: arguments of the timm model, such as `depths` or `img_size`.
        patch_size: side of the patch of a transformer, in pixels; `tokens` need it.
        presets: sizes under the presets of training; `tiny` is also what tests and `--quick` build.
        weights: `random`, by timm's initialisation; `pretrained`, which timm fetches; or a checkpoint of that model.
        width: of a token; a linear layer gives it, for `tokens` only where the model's own width is another.
        pool_size, sampled_pixels, sample: of a `map`, as in `GridSpec`.
    """

    implementation: ClassVar[str] = "vlbench.architectures.timm_backbone:TimmEmbedder"
    kind: Literal["timm"]
    model: TimmName
    features: Literal["map", "tokens", "pooled"] = "map"
    stage: Annotated[int, Field(strict=True, ge=0, le=1000)] | None = None
    model_args: Mapping[str, JsonValue] = {}
    patch_size: Side | None = None
    presets: Mapping[PresetName, TimmSize] = {}
    weights: Weights = RANDOM
    width: Width = 768
    pool_size: PoolSize = 2
    sampled_pixels: Amount = 100
    sample: Literal["training", "always"] = "training"

    @field_validator("model_args")
    @classmethod
    def _leaves_vlbenchs_arguments(cls, value: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        if taken := sorted(TAKEN & set(value)):
            raise ValueError(f"{taken[0]} is no argument that a model file can give")
        return value

    @model_validator(mode="after")
    def _keys_belong_to_features(self) -> TimmSpec:
        fields = type(self).model_fields
        of_map = ("pool_size", "sampled_pixels", "sample")
        given = [name for name in of_map if getattr(self, name) != fields[name].default]
        if self.features != "map" and given:
            raise ValueError(f"{given[0]} belongs to features: map, not to features: {self.features}")
        if self.features == "pooled" and self.stage is not None:
            raise ValueError("stage belongs to features: map or tokens; pooled features are those of the whole model")
        if self.features == "tokens" and self.patch_size is None:
            raise ValueError("the key 'patch_size' is missing; features: tokens needs it")
        return self

    @property
    def family(self) -> Literal["patch", "grid"]:  # type: ignore[override]
        """Of a pooled feature, `patch` where the file gives a patch."""
        return "patch" if self.features != "map" and self.patch_size else "grid"

    @property
    def one_token(self) -> bool:  # type: ignore[override]
        return self.features == "pooled"

    @property
    def side_multiple(self) -> int:
        return self.patch_size or 1

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        if self.patch_size:
            check_few_patches(height, width, self.patch_size)

    def without_sampling(self) -> TimmSpec:
        return self.model_copy(update={"sample": "training"})

    def sized(self, preset: str) -> TimmSpec:
        """The same at the size that the file has for a preset; itself where it has none."""
        sizes: Mapping[Any, TimmSize] = self.presets
        size = sizes.get(preset)
        if size is None:
            return self
        arguments = size.model_args if size.model else {**self.model_args, **size.model_args}
        return self.model_copy(update={"model": size.model or self.model, "model_args": arguments})

    def tiny(self) -> TimmSpec:
        few = {"sampled_pixels": 3} if self.features == "map" else {}
        return self.sized("tiny").model_copy(update={"width": TINY_WIDTH} | few)

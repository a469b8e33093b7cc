"""What model files of other people's models have in common: nothing of them is built from vlbench's own parts."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from vlbench.specs.base import Engine, Spec, check_patches
from vlbench.specs.bounds import ModelName, Seed, Side


class ForeignVisual(Spec):
    """The visual part of such a model; its weights are part of the whole model's."""

    kind: Literal["transformers", "module"] = "transformers"
    weights: Literal["random"] = "random"
    patch_size: Side = 1

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where an image of this size cannot be cut into patches."""
        check_patches(height, width, self.patch_size)


class ForeignSpec(Spec):
    """The part of a model file that all such models share, and their answers to what vlbench asks every model."""

    has_detector: ClassVar[bool] = False
    engine: ClassVar[Engine] = "torchvision"  # it has no detector
    interaction: ClassVar[None] = None
    head: ClassVar[None] = None

    name: ModelName
    aliases: tuple[ModelName, ...] = ()
    archetype: Literal["a", "b", "c", "d"] | None = None
    source: str
    note: str = ""
    seed: Seed = 0

    def with_engine(self, engine: Engine) -> Self:
        """The same spec."""
        return self

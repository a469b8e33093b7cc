"""How an image comes to the size at which a model answers about it, as its paper's code has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from vlbench.specs.base import Part

Resampling = Literal["bilinear", "bicubic"]


class ExactResize(Part):
    """To exactly `image_size`, whatever the image's own shape."""

    kind: Literal["exact"] = "exact"
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ExactResize:
        return self


class ShorterSide(Part):
    """The shorter side to a length, unless the longer one then exceeds its own (Faster R-CNN, section 3.3).

    Args:
        shorter, longer: in pixels; by default the two sides of `image_size`.
        multiple: of which each side becomes one, rounded down.
        resampling: between pixels.
    """

    kind: Literal["shorter_side"]
    shorter: PositiveInt | None = None
    longer: PositiveInt | None = None
    multiple: PositiveInt = 1
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ShorterSide:
        """Without lengths that suit one `image_size` only."""
        return self.model_copy(update={"shorter": None, "longer": None})


class CentreCrop(Part):
    """The shorter side to a length, then `image_size` out of the middle (CLIP's released code).

    Args:
        shorter: in pixels; by default the least at which the image covers `image_size`.
        resampling: between pixels.
    """

    kind: Literal["centre_crop"]
    shorter: PositiveInt | None = None
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> CentreCrop:
        return self.model_copy(update={"shorter": None})


Resizing = Annotated[ExactResize | ShorterSide | CentreCrop, Field(discriminator="kind")]

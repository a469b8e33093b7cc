"""How an image is resized for evaluation, as in the code of the model's paper."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from vlbench.specs.base import Part

Resampling = Literal["bilinear", "bicubic"]


class ExactResize(Part):
    """To exactly `image_size`, whatever the shape of the image."""

    kind: Literal["exact"] = "exact"
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ExactResize:
        return self


class ShorterSide(Part):
    """The shorter side to a length, or the longer one to its own if that makes the image smaller (Faster R-CNN, 3.3).

    Args:
        shorter, longer: in pixels; by default the two sides of `image_size`.
        multiple: each side is rounded down to a multiple of it.
        resampling: between pixels.
    """

    kind: Literal["shorter_side"]
    shorter: PositiveInt | None = None
    longer: PositiveInt | None = None
    multiple: PositiveInt = 1
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ShorterSide:
        """A copy without lengths that are meant for one `image_size`."""
        return self.model_copy(update={"shorter": None, "longer": None})


class CentreCrop(Part):
    """The shorter side to a length, then `image_size` cropped from the centre (CLIP's released code).

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

"""What all parts of a model file have in common, how images are resized for evaluation (as in the code of the model's
paper), and the engines of detectors."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from vlbench.errors import InputError
from vlbench.frozen import Frozen
from vlbench.specs.bounds import Side

Activation = Literal["quick_gelu", "gelu"]

RANDOM = "random"  # the `weights` of a part that no checkpoint fills
PRETRAINED = "pretrained"  # those that a library fetches from where it publishes them

MOST_PATCHES = 1 << 16  # of an image

TINY_WIDTH, TINY_HEADS, TINY_VOCABULARY = 32, 4, 128


class Spec(Frozen):
    """A part of a model file; an unknown key is an error.

    Class attributes:
        implementation: the class that is built from it, as "module:Class"; empty for what the part around it builds.
        takes_images: whether that class is also given how many images an example has, as `images`.
    """

    implementation: ClassVar[str] = ""
    takes_images: ClassVar[bool] = False

    def tiny(self) -> Spec:
        """The same part with few and narrow layers, for tests and for a first look."""
        return self


class VisualSpec(Spec):
    """A visual embedder. A new one needs its fields, `family`, `implementation`, `tiny`, and what differs from here.

    Class attributes:
        family: by which results are grouped.
        one_token: whether an image becomes a single token.
        has_detector: whether it finds the regions of an image, by an engine that can be chosen.
    """

    family: ClassVar[Literal["patch", "grid", "region"]]
    one_token: ClassVar[bool] = False
    has_detector: ClassVar[bool] = False

    @property
    def side_multiple(self) -> int:
        """Both sides of an image must be multiples of it, in pixels."""
        return 1

    @property
    def region_channels(self) -> tuple[int, ...]:
        """How many channels the feature of a precomputed region may have; empty if it cannot read regions."""
        return ()

    def check_image(self, height: int, width: int) -> None:
        """Raises ValueError where it cannot embed an image of this size."""

    def without_sampling(self) -> VisualSpec:
        """The same, but in evaluation all tokens are kept, and not a random choice."""
        return self


def specs_by_kind(parts: Any) -> dict[str, Any]:
    """The spec classes of a union that `kind` discriminates."""
    return {
        kind: part for part in get_args(get_args(parts)[0]) for kind in get_args(part.model_fields["kind"].annotation)
    }


def check_inputs(name: str, inputs: int | None, source: str, channels: int) -> None:
    """Raises ValueError where a projection reads fewer channels than its source has."""
    if inputs and inputs < channels:
        raise ValueError(f"{name} is {inputs}, but the {source} has {channels} channels")


def check_heads(width: int, heads: int, *, of: str = "", width_name: str = "width") -> None:
    """Raises ValueError if the width is no multiple of the heads."""
    if width % heads:
        raise ValueError(f"{of}{width_name} {width} is no multiple of {of}heads {heads}")


def check_patches(height: int, width: int, step: int) -> None:
    """Raises ValueError if a side is no multiple of the patch."""
    if height % step or width % step:
        near = "x".join(str(max(step, round(side / step) * step)) for side in (height, width))
        raise ValueError(f"image size {height}x{width} is no multiple of the {step}-pixel patch; {near} works")


def check_few_patches(height: int, width: int, step: int) -> None:
    """As `check_patches`; also raises ValueError if an image has too many patches for a transformer."""
    check_patches(height, width, step)
    if height * width > MOST_PATCHES * step**2:
        raise ValueError(f"image size {height}x{width} has more than {MOST_PATCHES:,} patches of {step} pixels")


def check_side(height: int, width: int, *, least: int) -> None:
    """Raises ValueError if a CNN and its pooling leave no pixel of an image of this size."""
    if min(height, width) < least:
        raise ValueError(f"image size {height}x{width} leaves no pixel; each side needs {least} at least")


Engine = Literal["torchvision", "detectron2"]

INSTALLATION = "https://detectron2.readthedocs.io/tutorials/install.html"


def check_engine(engine: Engine, name: str) -> None:
    """Raises InputError, with the name of the model, if the engine is not installed."""
    if engine == "detectron2" and find_spec("detectron2") is None:
        raise cannot_import(f"{name}: ", "No module named 'detectron2'")


def cannot_import(where: str, why: str) -> InputError:
    """The error for an engine that cannot be imported."""
    return InputError(
        f"{where}the detector's engine is detectron2, which cannot be imported ({why}); {INSTALLATION} tells how to "
        "install it, and the engine torchvision does without"
    )


Resampling = Literal["bilinear", "bicubic"]


class ExactResize(Spec):
    """To exactly `image_size`, whatever the shape of the image."""

    kind: Literal["exact"] = "exact"
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ExactResize:
        return self


class ShorterSide(Spec):
    """The shorter side to a length, or the longer one to its own if that makes the image smaller (Faster R-CNN, 3.3).

    Args:
        shorter, longer: in pixels; by default the two sides of `image_size`.
        multiple: each side is rounded down to a multiple of it.
        resampling: between pixels.
    """

    kind: Literal["shorter_side"]
    shorter: Side | None = None
    longer: Side | None = None
    multiple: Side = 1
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> ShorterSide:
        """A copy without lengths that are meant for one `image_size`."""
        return self.model_copy(update={"shorter": None, "longer": None})


class CentreCrop(Spec):
    """The shorter side to a length, then `image_size` cropped from the centre (CLIP's released code).

    Args:
        shorter: in pixels; by default the least at which the image covers `image_size`.
        resampling: between pixels.
    """

    kind: Literal["centre_crop"]
    shorter: Side | None = None
    resampling: Resampling = "bicubic"

    def for_any_size(self) -> CentreCrop:
        return self.model_copy(update={"shorter": None})


Resizing = Annotated[ExactResize | ShorterSide | CentreCrop, Field(discriminator="kind")]

"""RandAugment (Cubuk et al. 2019) without colour inversion and cutout, as ViLT has it (section 3.4)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from vlbench.errors import InputError

STRONGEST = 30  # M that stands for the whole range of an operation, in the code that everybody compares with

Operation = Callable[[Tensor, float, int], Tensor]


def _affine(image: Tensor, *, shift: tuple[float, float] = (0, 0), slope: tuple[float, float] = (0, 0)) -> Tensor:
    """Sheared about the upper left corner, or moved by whole pixels; what comes in from outside is black."""
    degrees = [math.degrees(math.atan(part)) for part in slope]
    centre: list[float] | None = [0, 0] if any(slope) else None
    moved = [int(part) for part in shift]
    return functional.affine(image, angle=0.0, translate=moved, scale=1.0, shear=degrees, center=centre)


# What each does to an image, at a strength from 0 to 1, in a direction of 1 or -1; ranges of AutoAugment.
OPERATIONS: dict[str, Operation] = {
    "identity": lambda image, strength, sign: image,
    "auto_contrast": lambda image, strength, sign: functional.autocontrast(image),
    "equalise": lambda image, strength, sign: functional.equalize(image),
    "rotate": lambda image, strength, sign: functional.rotate(image, 30 * strength * sign),
    "solarise": lambda image, strength, sign: functional.solarize(image, 255 * (1 - strength)),
    "posterise": lambda image, strength, sign: functional.posterize(image, 8 - round(4 * strength)),
    "colour": lambda image, strength, sign: functional.adjust_saturation(image, 1 + 0.9 * strength * sign),
    "contrast": lambda image, strength, sign: functional.adjust_contrast(image, 1 + 0.9 * strength * sign),
    "brightness": lambda image, strength, sign: functional.adjust_brightness(image, 1 + 0.9 * strength * sign),
    "sharpness": lambda image, strength, sign: functional.adjust_sharpness(image, 1 + 0.9 * strength * sign),
    "shear_x": lambda image, strength, sign: _affine(image, slope=(0.3 * strength * sign, 0)),
    "shear_y": lambda image, strength, sign: _affine(image, slope=(0, 0.3 * strength * sign)),
    "translate_x": lambda image, strength, sign: _affine(image, shift=(_reach(image.shape[2]) * strength * sign, 0)),
    "translate_y": lambda image, strength, sign: _affine(image, shift=(0, _reach(image.shape[1]) * strength * sign)),
}
KEEP_ANSWERS = ("identity", "brightness", "contrast", "sharpness")


class RandAugment:
    """A few random operations in a row on an image, the same for the same seed.

    Of all operations some change what a question about the image asks: `solarise`, `posterise`, `equalise`,
    `auto_contrast` (each channel for itself) and `colour` its colours; `translate_*`, `shear_*` and `rotate` where
    things are, and what still lies within the image; none exchanges left and right. `KEEP_ANSWERS` are those that leave
    hues, places and counts alone.

    Raises InputError where an operation is not known, or where count or magnitude lies out of range.

    Args:
        operations: those to draw from, names of `OPERATIONS`, each as often as any.
        count: N, how many in a row; the same one can come twice.
        magnitude: M, 0 to 30, of every operation.
    """

    def __init__(self, *, operations: Sequence[str] = tuple(OPERATIONS), count: int = 2, magnitude: float = 9) -> None:
        for name in operations:
            if name not in OPERATIONS:
                near = difflib.get_close_matches(name, OPERATIONS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise InputError(f"RandAugment: no operation {name!r}{hint}; known: {', '.join(OPERATIONS)}")
        if not operations:
            raise InputError(f"RandAugment: no operation to draw from; known: {', '.join(OPERATIONS)}")
        if count < 0 or not 0 <= magnitude <= STRONGEST:
            raise InputError(
                f"RandAugment: count {count}, magnitude {magnitude}; count is 0 or more, magnitude 0 to {STRONGEST}"
            )
        self.operations = tuple(operations)
        self.count = count
        self.strength = magnitude / STRONGEST

    def __call__(self, image_3HW: Tensor, *, seed: int) -> Tensor:
        """The image after its operations, (3, H, W) uint8 as it came; `seed` is that of this sample in this epoch."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.count):
            place, sign = (int(torch.randint(most, (), generator=generator)) for most in (len(self.operations), 2))
            image_3HW = OPERATIONS[self.operations[place]](image_3HW, self.strength, 2 * sign - 1)
        return image_3HW


def _reach(side: int) -> float:
    """How far an image moves at the most, in pixels: AutoAugment's 150 of a side of 331."""
    return 150 / 331 * side

"""RandAugment (Cubuk et al. 2019) without colour inversion and cutout, as in ViLT (section 3.4)."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from vlbench.errors import InputError

GREATEST_MAGNITUDE = 30  # M at which an operation has its full strength, in the common implementations

Operation = Callable[[Tensor, float, int], Tensor]


def _affine(image: Tensor, *, shift: tuple[float, float] = (0, 0), slope: tuple[float, float] = (0, 0)) -> Tensor:
    """The image sheared about its upper left corner, or moved by whole pixels; pixels from outside are black."""
    degrees = [math.degrees(math.atan(part)) for part in slope]
    centre: list[float] | None = [0, 0] if any(slope) else None
    moved = [int(part) for part in shift]
    return functional.affine(image, angle=0.0, translate=moved, scale=1.0, shear=degrees, center=centre)


# Each takes an image, a strength from 0 to 1 and a sign, 1 or -1. The ranges are AutoAugment's.
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
    "translate_x": lambda image, strength, sign: _affine(
        image, shift=(_max_shift(image.shape[2]) * strength * sign, 0)
    ),
    "translate_y": lambda image, strength, sign: _affine(
        image, shift=(0, _max_shift(image.shape[1]) * strength * sign)
    ),
}
KEEP_ANSWERS = ("identity", "brightness", "contrast", "sharpness")


class RandAugment:
    """Applies a few random operations to an image, the same for the same seed.

    Some operations change the answers of questions about the image: `solarise`, `posterise`, `equalise`,
    `auto_contrast` (each channel on its own) and `colour` change colours; `translate_*`, `shear_*` and `rotate` change
    where things are and whether they are still visible. None mirrors the image. `KEEP_ANSWERS` are those that keep
    hues, positions and counts.

    Raises InputError where an operation is unknown, or count or magnitude is out of range.

    Args:
        operations: names from `OPERATIONS`, each drawn with the same probability.
        count: N, the number of operations in a row; the same one can be drawn twice.
        magnitude: M, 0 to 30, of every operation.
    """

    def __init__(self, *, operations: Sequence[str] = tuple(OPERATIONS), count: int = 2, magnitude: float = 9) -> None:
        for name in operations:
            if name not in OPERATIONS:
                near = difflib.get_close_matches(name, OPERATIONS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise InputError(f"RandAugment: unknown operation {name!r}{hint}; known: {', '.join(OPERATIONS)}")
        if not operations:
            raise InputError(f"RandAugment: no operations given; known: {', '.join(OPERATIONS)}")
        if count < 0 or not 0 <= magnitude <= GREATEST_MAGNITUDE:
            raise InputError(
                f"RandAugment: count {count}, magnitude {magnitude}; count must be at least 0, magnitude 0 to "
                f"{GREATEST_MAGNITUDE}"
            )
        self.operations = tuple(operations)
        self.count = count
        self.strength = magnitude / GREATEST_MAGNITUDE

    def __call__(self, image_3HW: Tensor, *, seed: int) -> Tensor:
        """The augmented image, (3, H, W) uint8. `seed` should differ between samples and epochs."""
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.count):
            index, sign = (int(torch.randint(high, (), generator=generator)) for high in (len(self.operations), 2))
            image_3HW = OPERATIONS[self.operations[index]](image_3HW, self.strength, 2 * sign - 1)
        return image_3HW


def _max_shift(side: int) -> float:
    """The largest translation in pixels: AutoAugment's 150 for a side of 331."""
    return 150 / 331 * side

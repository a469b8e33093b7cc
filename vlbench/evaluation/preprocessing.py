"""An image as a model's paper prepares it, whose shape counts here as it does not where only time is measured."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vlbench.inputs import normalised, open_image
from vlbench.specs import CentreCrop, Input, ShorterSide
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import generated_scene

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def prepared(path: Path, wanted: Input) -> NDArray[np.float32]:
    """The image as `wanted.evaluation` has it, normalised, (3, H, W). Raises InputError as `open_image` does."""
    scene = generated_scene(path, side=max(wanted.image_size))
    image = open_image(path, option="") if scene is None else Image.fromarray(draw(scene))
    return normalised(resized(image, wanted), wanted)


def resized(image: Image.Image, wanted: Input) -> Image.Image:
    """The image at its size for evaluation."""
    resizing, size = wanted.evaluation, wanted.image_size
    if isinstance(resizing, ShorterSide):
        shorter, longer = resizing.shorter or min(size), resizing.longer or max(size)
        size = shorter_side_size(image.height, image.width, shorter, longer, resizing.multiple)
    elif isinstance(resizing, CentreCrop):
        size = covering_size(image.height, image.width, wanted.image_size, resizing.shorter)
    height, width = size
    image = image.resize((width, height), RESAMPLING[resizing.resampling])
    return centre(image, wanted.image_size) if isinstance(resizing, CentreCrop) else image


def shorter_side_size(height: int, width: int, shorter: int, longer: int, multiple: int) -> tuple[int, int]:
    """Height and width in pixels: rounded half up, then down to a multiple, of which at least one stays."""
    scale = shorter / min(height, width)
    sides = height * scale, width * scale
    if max(sides) > longer:
        sides = sides[0] * (longer / max(sides)), sides[1] * (longer / max(sides))
    new_height, new_width = (max(multiple, math.floor(side + 0.5) // multiple * multiple) for side in sides)
    return new_height, new_width


def covering_size(height: int, width: int, wanted: tuple[int, int], shorter: int | None) -> tuple[int, int]:
    """Height and width in pixels, the shorter side of a length, by default the least that covers what is wanted."""
    least_height, least_width = (shorter, shorter) if shorter else wanted
    if least_height * width >= least_width * height:
        return least_height, width * least_height // height
    return height * least_width // width, least_width


def centre(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Height x width out of the middle, half a pixel up and left of it where it is between two."""
    height, width = size
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))

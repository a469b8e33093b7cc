"""Images of a data set, prepared as a model's paper does it, as a batch: pixels padded to the largest, or the regions
that a detector found earlier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vlbench.architectures.interfaces import Images, RegionFeatures
from vlbench.errors import InputError
from vlbench.inputs import normalised, open_image
from vlbench.specs import AnySpec, CentreCrop, HuggingFaceSpec, Input, RegionSpec, ShorterSide
from vlbench.tasks.region_features import ImageRegions, RegionSource
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


REMEMBERED = 8  # images, so that the questions about one image decode it once
Value = TypeVar("Value")


class ImageReader:
    """Reads images for one model; other processes can have a copy of it.

    Args:
        wanted: size and normalisation.
        features: the regions of every image, by its file's name without ending, or None for pixels.
        channels: that a region's feature may have.
    """

    def __init__(self, wanted: Input, features: RegionSource | None, channels: Sequence[int] = ()) -> None:
        self.wanted = wanted
        self.features = features
        self.channels = channels
        self._pixels: dict[Path, NDArray[np.float32]] = {}
        self._regions: dict[Path, ImageRegions] = {}

    def read(self, paths: Sequence[Path]) -> Images | RegionFeatures:
        """A batch, in this order. Raises InputError where an image or its regions cannot be read."""
        if self.features is None:
            return padded_images([self._pixels_of(path) for path in paths])
        regions = [self._regions_of(path, self.features) for path in paths]
        for path, image in zip(paths, regions, strict=True):
            count, first = image.features.shape[1], regions[0].features.shape[1]
            if count != first:
                raise InputError(f"{path}: its regions have {count} numbers each, those before it {first}")
        return padded_regions(regions)

    def _pixels_of(self, path: Path) -> NDArray[np.float32]:
        found = self._pixels.pop(path, None)
        return _remember(self._pixels, path, prepared(path, self.wanted) if found is None else found)

    def _regions_of(self, path: Path, features: RegionSource) -> ImageRegions:
        found = self._regions.pop(path, None)
        if found is None:
            found = features.read(path.stem)
            count = found.features.shape[1]
            if count not in self.channels:
                known = " or ".join(map(str, self.channels))
                raise InputError(f"{features.path}: features of {count} numbers; this model reads {known}")
        return _remember(self._regions, path, found)


def _remember(memory: dict[Path, Value], path: Path, value: Value) -> Value:
    """Puts it in as the latest; the oldest leaves."""
    memory[path] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]
    return value


def padded_images(images: Sequence[NDArray[np.float32]]) -> Images:
    """(B, 3, H, W) with zeros at the right and the bottom of smaller images, from one (3, h, w) each."""
    sizes = tuple((image.shape[1], image.shape[2]) for image in images)
    if len(set(sizes)) == 1:
        return Images(pixels=torch.from_numpy(np.stack(images)), sizes=sizes)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    pixels_B3HW = torch.zeros(len(images), 3, height, width)
    for row, image in zip(pixels_B3HW, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = torch.from_numpy(image)
    return Images(pixels=pixels_B3HW, sizes=sizes)


def padded_regions(images: Sequence[ImageRegions]) -> RegionFeatures:
    """(B, R, ...) with zeros behind the last region of images that have fewer than the others."""
    counts = torch.tensor([len(image.boxes) for image in images])
    most = int(counts.max())
    features_BRC = torch.zeros(len(images), most, images[0].features.shape[1])
    boxes_BR4 = torch.zeros(len(images), most, 4)
    for index, image in enumerate(images):
        features_BRC[index, : len(image.features)] = torch.from_numpy(image.features.copy())
        boxes_BR4[index, : len(image.boxes)] = torch.from_numpy(image.boxes.copy())
    real_BR = torch.arange(most) < counts[:, None]
    return RegionFeatures(
        features=features_BRC,
        boxes=boxes_BR4,
        sizes=tuple((image.height, image.width) for image in images),
        mask=None if bool(real_BR.all()) else real_BR,
    )


def reader_of(spec: AnySpec, features: RegionSource | None) -> ImageReader:
    """The reader for a model. Raises InputError where it gets regions and sees pixels, or the other way round."""
    channels = region_channels(spec)
    if features is None:
        if isinstance(spec, HuggingFaceSpec) and channels:
            raise InputError(f"{spec.name}: reads regions that were found before; --features FILE names them")
        return ImageReader(spec.input, None)
    if not channels:
        raise InputError(f"{features.path}: {spec.name} sees pixels, not regions; leave the features out for it")
    return ImageReader(spec.input, features, channels)


def region_channels(spec: AnySpec) -> list[int]:
    """How many numbers a region's feature may have for a model; none where it does not see regions."""
    if isinstance(spec, HuggingFaceSpec):
        return [spec.features.channels] if spec.features else []
    if not isinstance(spec.visual, RegionSpec):
        return []
    own = spec.visual.roi_head.channels
    return sorted({own, spec.visual.projection.inputs or own})

"""Preprocesses the images of a data set as the model's paper does, and batches them: padded pixels, or precomputed
regions."""

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
from vlbench.files.images import open_image
from vlbench.inputs import normalised
from vlbench.specs import AnySpec, CentreCrop, Input, ShorterSide
from vlbench.tasks.region_features import ImageRegions, RegionSource
from vlbench.tasks.shapes.drawing import draw
from vlbench.tasks.shapes.items import generated_scene

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def preprocessed(path: Path, model_input: Input) -> NDArray[np.float32]:
    """The image, resized for evaluation and normalised, (3, H, W). Raises InputError as `open_image` does."""
    scene = generated_scene(path, side=max(model_input.image_size))
    image = open_image(path, option="") if scene is None else Image.fromarray(draw(scene))
    return normalised(resized(image, model_input), model_input)


def resized(image: Image.Image, model_input: Input) -> Image.Image:
    """The image, resized as `model_input.evaluation` says."""
    resizing, size = model_input.evaluation, model_input.image_size
    if isinstance(resizing, ShorterSide):
        shorter, longer = resizing.shorter or min(size), resizing.longer or max(size)
        size = shorter_side_size(image.height, image.width, shorter, longer, resizing.multiple)
    elif isinstance(resizing, CentreCrop):
        size = covering_size(image.height, image.width, model_input.image_size, resizing.shorter)
    height, width = size
    image = image.resize((width, height), RESAMPLING[resizing.resampling])
    return centre_crop(image, model_input.image_size) if isinstance(resizing, CentreCrop) else image


def shorter_side_size(height: int, width: int, shorter: int, longer: int, multiple: int) -> tuple[int, int]:
    """Height and width in pixels after scaling the shorter side to `shorter` and the longer to at most `longer`.

    Sides are rounded half up, then down to a multiple of `multiple`, but not to zero. In floating point, too, this is
    what Detectron2's ResizeShortestEdge and `MinMaxResize` of ViLT's released code compute.
    """
    scale = shorter / min(height, width)
    rows, columns = height * scale, width * scale
    if height < width:
        rows = float(shorter)  # exactly
    else:
        columns = float(shorter)
    if max(rows, columns) > longer:
        scale = longer / max(rows, columns)
        rows, columns = rows * scale, columns * scale
    new_height, new_width = (max(multiple, math.floor(side + 0.5) // multiple * multiple) for side in (rows, columns))
    return new_height, new_width


def covering_size(height: int, width: int, crop: tuple[int, int], shorter: int | None) -> tuple[int, int]:
    """Height and width in pixels after scaling the shorter side to `shorter`, or just enough to cover the crop."""
    least_height, least_width = (shorter, shorter) if shorter else crop
    if least_height * width >= least_width * height:
        return least_height, width * least_height // height
    return height * least_width // width, least_width


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Height x width from the centre; if the centre lies between two pixels, the crop is half a pixel up and left."""
    height, width = size
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


CACHED_IMAGES = 8  # so that several questions about one image decode it once
Value = TypeVar("Value")


class ImageReader:
    """Reads images for one model. Data-loading processes get copies of it.

    Args:
        spec: of the model, whose input says how images are resized and normalised.
        features: precomputed regions, by the name of an image's file without its suffix; None to read pixels.
        channels: the numbers of channels that a region's feature may have.
    """

    def __init__(self, spec: AnySpec, features: RegionSource | None) -> None:
        self.spec = spec
        self.features = features
        self.cached_pixels: dict[Path, NDArray[np.float32]] = {}
        self.cached_regions: dict[Path, ImageRegions] = {}

    def read(self, paths: Sequence[Path]) -> Images | RegionFeatures:
        """A batch of these images, in this order. Raises InputError if an image or its regions cannot be read."""
        if self.features is None:
            return padded_images([self._pixels_of(path) for path in paths])
        regions = [self._regions_of(path, self.features) for path in paths]
        for path, image in zip(paths, regions, strict=True):
            count, first = image.features.shape[1], regions[0].features.shape[1]
            if count != first:
                raise InputError(f"{path}: its regions have {count} numbers each, those before it {first}")
        return padded_regions(regions)

    def _pixels_of(self, path: Path) -> NDArray[np.float32]:
        pixels = self.cached_pixels.pop(path, None)
        if pixels is None:
            pixels = preprocessed(path, self.spec.input)
            self._check_size(path, *pixels.shape[1:])
        return _cache(self.cached_pixels, path, pixels)

    def _check_size(self, path: Path, height: int, width: int) -> None:
        """A photo much longer than wide becomes too thin for the pooling of a CNN when it is resized."""
        try:
            self.spec.visual.check_image(height, width)
        except ValueError as error:
            raise InputError(f"{path}: resized for {self.spec.name}: {error}") from error

    def _regions_of(self, path: Path, features: RegionSource) -> ImageRegions:
        regions = self.cached_regions.pop(path, None)
        if regions is None:
            regions = features.read(path.stem)
            count = regions.features.shape[1]
            channels = self.spec.region_channels
            if count not in channels:
                known = " or ".join(map(str, channels))
                halved = 2 * count in channels or count / 2 in channels
                remedy = "; were they saved as float32?" if halved else ""
                raise InputError(f"{features.path}: features of {count} numbers; this model reads {known}{remedy}")
        return _cache(self.cached_regions, path, regions)


def _cache(cache: dict[Path, Value], path: Path, value: Value) -> Value:
    """Adds the value as the newest, and removes the oldest if there are too many."""
    cache[path] = value
    if len(cache) > CACHED_IMAGES:
        del cache[next(iter(cache))]
    return value


def padded_images(images: Sequence[NDArray[np.float32]]) -> Images:
    """Images of (3, h, w) as one batch, (B, 3, H, W). Smaller images are padded with zeros at the right and bottom."""
    sizes = tuple((image.shape[1], image.shape[2]) for image in images)
    if len(set(sizes)) == 1:
        return Images(pixels=torch.from_numpy(np.stack(images)), sizes=sizes)
    height, width = (max(side) for side in zip(*sizes, strict=True))
    pixels_B3HW = torch.zeros(len(images), 3, height, width)
    for row, image in zip(pixels_B3HW, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = torch.from_numpy(image)
    return Images(pixels=pixels_B3HW, sizes=sizes)


def padded_regions(images: Sequence[ImageRegions]) -> RegionFeatures:
    """Regions of images as one batch, (B, R, ...). Images with fewer regions are padded with zeros."""
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


def image_reader_for(spec: AnySpec, features: RegionSource | None) -> ImageReader:
    """The image reader for a model. Raises InputError if the model reads pixels but gets regions, or the reverse."""
    if features is None:
        if not spec.reads_pixels:
            raise InputError(f"{spec.name}: reads precomputed regions; --features FILE names them")
        return ImageReader(spec, None)
    if not spec.region_channels:
        raise InputError(f"{features.path}: {spec.name} sees pixels, not regions; leave the features out for it")
    return ImageReader(spec, features)

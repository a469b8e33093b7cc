"""Images in files, decoded to RGB with 8 bits a channel: upright, and transparent pixels on white."""

from __future__ import annotations

import logging
import os
import re
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from vlbench.errors import InputError
from vlbench.files.portable_maps import decoded_map, is_portable_map
from vlbench.files.text import check_regular

# Photographs' formats. Of Pillow's others, some start programs (EPS), and some take hours for a small file (QOI).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
LEAST_SIDE, MOST_PIXELS = 16, 100_000_000
MOST_BYTES = 1 << 30  # 100 million pixels of 64 bits have 0.8 GB
MOST_ASPECT = 200  # resizing a very long image takes memory for the long side times the new width
MOST_SCANS = 100  # of a JPEG; encoders write about 10
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # of a segment of JPEG, not of restarts within a scan
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow documents OSError alone; its readers let these through for damaged files, too.
DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or Python prints its messages of damage


def open_image(path: Path, *, option: str = "--image ") -> Image.Image:
    """Decodes the first frame of an image to RGB, upright, and puts transparent pixels on white.

    Raises InputError if the file is no image, is damaged, too small or too large, or if it does not say which value is
    white. The message begins with `option` and the path.
    """
    where = f"{option}{path}"
    check_regular(path, option=option, most_bytes=MOST_BYTES)
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that nobody reads here
            with Image.open(path, formats=_formats()) as image:
                _check_extent(where, *image.size)
                _check_samples(where, image)
                _check_scans(where, path, image)
                if is_portable_map(image):
                    return decoded_map(image).convert("RGB")
                raw_mode = _raw_mode(image)
                with _silent_libtiff(image):
                    image.load()
                method = UPRIGHT.get(_orientation(image))
                decoded = to_rgb(image, where, raw_mode=raw_mode)
                return decoded if method is None else decoded.transpose(method)
    except UnidentifiedImageError as error:
        raise InputError(f"{where}: not an image that is read here; JPEG and PNG work") from error
    except (Image.DecompressionBombError, MemoryError) as error:
        raise InputError(f"{where}: too large; up to {MOST_PIXELS // 10**6} million pixels work") from error
    except DAMAGE as error:
        raise InputError(f"{where}: damaged or cut off ({str(error)[:80]})") from error


@contextmanager
def _silent_libtiff(image: Image.Image) -> Iterator[None]:
    """libtiff writes a line for each fault to the standard error, beside the error that Pillow raises."""
    if image.format != "TIFF" or sys.__stderr__ is None:  # it is closed, so that another file may have its number
        yield
        return
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this installation of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _check_extent(where: str, width: int, height: int) -> None:
    if min(width, height) < LEAST_SIDE:
        raise InputError(f"{where}: {width}x{height} pixels; each side must have at least {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{where}: {width}x{height} pixels; up to {MOST_PIXELS // 10**6} million work, so shrink it first"
        )
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise InputError(f"{where}: {width}x{height} pixels; one side may be {MOST_ASPECT} times the other, so crop it")


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}


def _check_samples(where: str, image: ImageFile.ImageFile) -> None:
    """Raises InputError for a TIFF whose samples Pillow would take for others, or fill with black, without an error."""
    tags = _tags(image)
    if not tags:
        return
    if 2 in tags.get(TiffImagePlugin.SAMPLEFORMAT, ()):
        raise InputError(f"{where}: signed integers, of which white is unknown; save it with 8 or 16 bits")
    bits, photometric = (
        tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)),
        tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0),
    )
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2 and (
        set(bits) != {8} or photometric not in (1, 2, 3, 5) or 1 in tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    ):
        raise InputError(f"{where}: a TIFF of separate planes of this kind is not read; save it as PNG")
    if image.mode == "YCbCr" and tags.get(TiffImagePlugin.YCBCRSUBSAMPLING, (2, 2)) != (1, 1):
        raise InputError(f"{where}: a TIFF of subsampled colours without compression is not read; save it as PNG")
    boxes = [tile.extents for tile in image.tile if tile.extents]
    area = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes)
    if not 1 <= area / (image.width * image.height) <= TiffImagePlugin.MAX_SAMPLESPERPIXEL:
        raise InputError(f"{where}: damaged or cut off (its strips do not make up the image)")


def _check_scans(where: str, path: Path, image: Image.Image) -> None:
    """Raises InputError for a JPEG of so many scans that decoding it takes hours; each scan goes through all pixels."""
    if image.format not in ("JPEG", "MPO"):
        return
    content = path.read_bytes()
    if content.count(START_OF_SCAN) <= MOST_SCANS:  # in a video behind the photograph these bytes occur by chance
        return
    scans, position = 0, 2
    while marker := MARKER.search(content, position):
        scans += marker[0] == START_OF_SCAN
        if scans > MOST_SCANS:
            raise InputError(f"{where}: a JPEG of more than {MOST_SCANS} scans; save it again")
        if marker[0] == END_OF_IMAGE:
            return
        position = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2], "big")


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the file stores its samples, in Pillow's words, such as `RGB;16B`; "" if the format has one way."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments if isinstance(arguments, str) or not arguments else arguments[0])


def _orientation(image: Image.Image) -> int:
    """The orientation of EXIF, 1 to 8; 1 if it is absent, or if none can be read from a damaged block."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def to_rgb(image: Image.Image, where: str, *, raw_mode: str = "") -> Image.Image:
    """RGB of a loaded image in any of Pillow's modes. Transparent pixels lie on white, as a web page shows them.

    Raises InputError if the mode does not say which value is white.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _gray(image, where)
    elif image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    elif image.mode in ("L", "RGB") and "transparency" in image.info:
        _scale_transparent_colour(image, where, raw_mode)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    if layered.getchannel("A").getextrema() == (255, 255):
        return layered.convert("RGB")
    return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")


def _gray(image: Image.Image, where: str) -> Image.Image:
    """L, or LA with a transparent level, of an image whose samples have more than 8 bits."""
    values, tags = np.asarray(image), _tags(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is in no range
            raise InputError(f"{where}: numbers outside 0 to 1, of which white is unknown; scale them to 0 to 1")
        levels = np.rint(values * 255).astype(np.uint8)
    else:
        if image.mode == "I" and image.format != "PPM":
            raise InputError(f"{where}: 32-bit integers, of which white is unknown; save it with 8 or 16 bits")
        white = 2 ** int(tags.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]) - 1
        table = (np.arange(white + 1) * 255 + white // 2) // white
        levels = table.astype(np.uint8)[values]
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero, which Pillow applies to 8 bits alone
        levels = 255 - levels
    gray = Image.fromarray(levels)
    if "transparency" in image.info:
        gray.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    return gray


def _scale_transparent_colour(image: Image.Image, where: str, raw_mode: str) -> None:
    """PNG gives the transparent colour in the file's own bits, which Pillow compares to samples of 8."""
    colour = image.info["transparency"]
    if ";16" in raw_mode:
        raise InputError(f"{where}: 16 bits a channel and a transparent colour; save it with an alpha channel")
    if isinstance(colour, int):
        image.info["transparency"] = colour * {"L;2": 85, "L;4": 17}.get(raw_mode, 1) & 255

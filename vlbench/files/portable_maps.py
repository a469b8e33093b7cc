"""Netpbm's portable maps (PBM, PGM, PPM) whose samples Pillow decodes one by one, which takes minutes."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

PLAIN, BINARY = "ppm_plain", "ppm"  # Pillow's decoders in Python
COMMENT = re.compile(rb"#[^\r\n]*")


def is_portable_map(image: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded yet would be decoded sample by sample."""
    return bool(image.tile) and image.tile[0].codec_name in (PLAIN, BINARY)


def decoded_map(image: ImageFile.ImageFile) -> Image.Image:
    """The image, scaled to 8 bits: L or RGB. Raises ValueError if samples are missing or above the file's maximum."""
    tile = image.tile[0]
    assert image.fp is not None
    image.fp.seek(tile.offset)
    content = image.fp.read()
    shape = (image.height, image.width, len(image.getbands()))
    if image.mode == "1":  # its digits may follow one another without a space
        digits = COMMENT.sub(b"", content).translate(None, b" \t\n\v\f\r")
        values: NDArray = ord("1") - np.frombuffer(digits, np.uint8)  # 1 is black
        most = 1
    else:
        assert isinstance(tile.args, tuple)
        most = int(tile.args[1])
        if tile.codec_name == PLAIN:
            values = np.fromstring(COMMENT.sub(b" ", content).decode("ascii"), np.int64, sep=" ")
        else:
            kind = np.dtype(np.uint8 if most < 256 else ">u2")
            values = np.frombuffer(content, kind, min(len(content) // kind.itemsize, int(np.prod(shape))))
    values = values[: int(np.prod(shape))]
    if len(values) < np.prod(shape) or values.min() < 0 or values.max() > most:
        raise ValueError(f"{len(values):,} samples of 0 to {most} where {np.prod(shape):,} are due")
    levels = np.rint(values * (255 / most)).astype(np.uint8).reshape(shape)
    return Image.fromarray(levels[..., 0] if shape[2] == 1 else levels)

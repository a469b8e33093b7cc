"""The orientation of photographs: all eight, none, and blocks of EXIF that are damaged."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.files.image_files import opened, pillow


def exif(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """An EXIF block of one directory; an entry is its tag, type, count and value or offset."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    body = b"".join(struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"Exif\0\0" + head + body + bytes(4)


def orientation(value: int, *, kind: int = 3, count: int = 1, order: str = "<") -> tuple[int, int, int, bytes]:
    return 0x0112, kind, count, struct.pack(f"{order}{'I' if kind == 4 else 'H'}", value).ljust(4, b"\0")


# Where the bright corner of a stored image lies once it stands upright (TIFF 6.0, Orientation).
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("value", CORNERS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_each_orientation_stands_upright(tmp_path: Path, kind: str, value: int) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :16] = 255
    stored[:16, 16:] = 90  # the stored top edge is brighter than the left one
    more: dict[str, Any] = {} if kind == "TIFF" else {"exif": exif(orientation(value))}
    if kind == "TIFF":
        more["tiffinfo"] = {0x0112: value}
    seen = opened(tmp_path, pillow(Image.fromarray(stored), kind, **more)).astype(int)[..., 0]
    assert seen.shape == ((32, 48) if value < 5 else (48, 32))
    row, column = CORNERS[value]
    assert seen[row, column] > 240
    if value < 5:
        assert abs(seen[row, -1 - column] - 90) < 15, "the top edge stays horizontal"
    else:
        assert abs(seen[-1 - row, column] - 90) < 15, "the top edge becomes vertical"


@pytest.mark.parametrize(
    "block",
    [
        exif(),
        exif(orientation(0)),
        exif(orientation(9)),
        exif(orientation(65535)),
        exif(orientation(6, kind=2)),
        exif(orientation(6, kind=7)),
        exif(orientation(8, kind=5)),
        exif(orientation(6, count=0)),
        exif(orientation(6, count=2**31)),
        exif(orientation(6))[:16],
        b"Exif\0\0",
        b"Exif\0\0II",
        b"Exif\0\0nonsense here",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_that_cannot_be_read_leaves_the_image_as_it_is(tmp_path: Path, kind: str, block: bytes) -> None:
    assert opened(tmp_path, pillow(Image.new("RGB", (64, 48)), kind, exif=block)).shape == (48, 64, 3)


DAMAGED_TAGS = [
    (0x011B, 2, 3, bytes.fromhex("41ff0200")),
    (0x0117, 7, 2, bytes.fromhex("00004102")),
    (0x8298, 11, 1, bytes.fromhex("00020025")),
    (0x8769, 4, 1, bytes(4)),
    (0x8769, 2, 1, bytes(4)),
    (0x8825, 4, 1, b"\xff" * 4),
    (0x011A, 5, 1, b"\xff" * 4),
    (0x0110, 1, 2**31, bytes(4)),
    (0xFFFF, 99, 1, bytes(4)),
]


@pytest.mark.parametrize("tag", DAMAGED_TAGS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_damaged_tag_beside_the_orientation_does_no_harm(
    tmp_path: Path, tag: tuple[int, int, int, bytes], order: str
) -> None:
    block = exif(*sorted([orientation(6, order=order), tag]), order=order)
    assert opened(tmp_path, pillow(Image.new("RGB", (64, 48)), "JPEG", exif=block)).shape == (64, 48, 3)

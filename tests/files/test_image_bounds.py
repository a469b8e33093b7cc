"""Images that would take memory or time without end, and files that are cut off."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.files.image_files import opened, pillow, png, tiff
from vlbench.errors import InputError
from vlbench.files.images import MOST_ASPECT, open_image


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((16, 16 * MOST_ASPECT), None),
        ((16, 16 * MOST_ASPECT + 1), f"one side may be {MOST_ASPECT} times the other, so crop it"),
        ((6_000_000, 16), f"one side may be {MOST_ASPECT} times the other, so crop it"),
        ((15, 64), "each side must have at least 16"),
        ((11_000, 10_000), "up to 100 million work"),
        ((20_000, 20_000), "too large; up to 100 million pixels work"),
        ((2**31 - 1, 2**31 - 1), "too large; up to 100 million pixels work"),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_the_size_is_checked_before_pixels_are_decoded(
    tmp_path: Path, size: tuple[int, int], reason: str | None, kind: str
) -> None:
    width, height = size
    if kind == "GIF" and max(size) > 65535:
        pytest.skip("a GIF has 16 bits for a side")
    data = {
        "PNG": lambda: png(np.zeros((1, 1)), 8, 0),
        "GIF": lambda: pillow(Image.new("P", (1, 1)), "GIF"),
        "TIFF": lambda: tiff(np.zeros((1, 1), np.uint8), _256=(4, [width]), _257=(4, [height]), _278=(4, [height])),
    }[kind]()
    if kind == "PNG":
        header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
        data = data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    elif kind == "GIF":
        data = data[:6] + struct.pack("<HH", width, height) + data[10:]
    (tmp_path / "image").write_bytes(data)
    if reason is None and kind == "GIF":
        assert open_image(tmp_path / "image").size == size
        return
    with pytest.raises(InputError, match=reason or "damaged or cut off"):
        open_image(tmp_path / "image")


@pytest.mark.parametrize(
    "content",
    [
        b"P2 16 16 255\n" + b"1 " * 255,
        b"P2 16 16 255\n" + b"256 " * 256,
        b"P2 16 16 255\n" + b"-1 " * 256,
        b"P2 16 16 255\n" + b"one " * 256,
        b"P2 16 16 255\n" + b"\xff" * 1000,
        b"P2 16 16 1000\n",
        b"P1 16 16\n" + b"2" * 256,
        b"P1 16 16\n" + b"0" * 255,
        b"P5 16 16 1000\n" + b"\x03\xe9" * 256,
        b"P6 16 16 1000\n" + b"\x03\xe8" * 767,
        b"P5 16 16 0\n" + bytes(256),
        b"P5 16 16 70000\n" + bytes(512),
    ],
)
def test_a_damaged_portable_map_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut off"):
        open_image(tmp_path / "image")


def test_a_portable_map_is_decoded_at_once(tmp_path: Path) -> None:
    for content in (
        b"P2 1000 1000 255\n" + b"12 #\n" * 1_000_000,
        b"P1 1000 1000\n" + b"1#\n" * 1_000_000,
        b"P6 1000 1000 999\n" + bytes(6_000_000),
    ):
        start = time.perf_counter()
        assert opened(tmp_path, content).shape == (1000, 1000, 3)
        assert time.perf_counter() - start < 10, "sample by sample it takes minutes"


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    data = pillow(Image.new("L", (64, 64), 99), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert opened(tmp_path, data[:-2] + last * 50 + data[-2:]).shape == (64, 64, 3)
    with pytest.raises(InputError, match="a JPEG of more than 100 scans; save it again"):
        opened(tmp_path, data[:-2] + last * 5000 + data[-2:])
    video = np.random.default_rng(0).integers(0, 256, 20_000_000, np.uint8).tobytes()  # as phones append to photographs
    assert video.count(b"\xff\xda") > 200
    assert opened(tmp_path, data + video).shape == (64, 64, 3)


def test_a_tiff_is_read_while_the_standard_error_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(pillow(Image.new("L", (256, 16), 9), "TIFF", compression="tiff_lzw"))
    code = (
        f"from pathlib import Path; from vlbench.files.images import open_image; print(open_image(Path({str(path)!r})))"
    )
    command = ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert "size=256x16" in ended.stdout

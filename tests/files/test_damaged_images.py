"""Damaged images: InputError, or an image of the right size, in bounded time."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from vlbench.errors import InputError
from vlbench.files.images import MOST_ASPECT, MOST_PIXELS, open_image
from vlbench.inputs import default_image

SEED, COUNT = 18, 1000
LONGEST_S = 5.0


def saved(image: Image.Image, kind: str, **more: object) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **more)
        return file.getvalue()


def originals() -> Iterator[tuple[str, bytes]]:
    """Small files of every format, with EXIF and in several modes."""
    with Image.open(default_image()) as photograph:
        image = ImageOps.fit(photograph.convert("RGB"), (64, 48))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0xA002: 64, 0x829A: 0.01})
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        yield f"{kind} exif", saved(image, kind, exif=exif)
    yield "JPEG progressive", saved(image, "JPEG", progressive=True)
    yield "JPEG CMYK", saved(image.convert("CMYK"), "JPEG")
    yield "MPO", saved(image, "MPO", save_all=True, append_images=[image])
    yield "PNG I;16", saved(Image.new("I;16", (64, 48), 999), "PNG")
    yield "PNG P", saved(image.quantize(16), "PNG", transparency=3)
    yield "PNG animated", saved(image, "PNG", save_all=True, append_images=[image.rotate(90)])
    yield "GIF", saved(image, "GIF", save_all=True, append_images=[image.rotate(90)], transparency=1)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield f"TIFF {compression}", saved(image, "TIFF", compression=compression)
    yield "TIFF F", saved(Image.new("F", (64, 48), 0.5), "TIFF")
    yield "WEBP lossless", saved(image.convert("RGBA"), "WEBP", lossless=True)
    yield "BMP", saved(image, "BMP")
    yield "BMP P", saved(image.quantize(16), "BMP")
    yield "PPM", saved(image, "PPM")
    yield "JPEG2000", saved(image, "JPEG2000")


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Some bytes changed, mostly near the start, where headers and EXIF are; or the file cut off."""
    content = bytearray(data)
    if draw.random() < 0.15:
        return bytes(content[: draw.randrange(1, len(content))])
    end = len(content) if draw.random() < 0.4 else min(len(content), 700)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        content[draw.randrange(end)] = draw.choice(
            [0, 1, 2, 3, 4, 7, 8, 12, 0x7F, 0x80, 0xFE, 0xFF, draw.randrange(256)]
        )
    return bytes(content)


def read_or_refused(path: Path) -> Image.Image | str:
    try:
        return open_image(path)
    except InputError as error:
        return str(error)


@pytest.mark.slow
def test_a_damaged_image_is_refused_or_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    draw, files = random.Random(SEED), list(originals())
    path, refused = tmp_path / "image", 0
    for number in range(COUNT):
        name, data = files[number % len(files)]
        path.write_bytes(damaged(data, draw))
        start = time.perf_counter()
        outcome = read_or_refused(path)
        assert time.perf_counter() - start < LONGEST_S, f"{name}, file {number}"
        if isinstance(outcome, str):
            refused += 1
            assert outcome.startswith(f"--image {path}: "), name
            assert len(outcome.removeprefix(f"--image {path}: ")) <= 200, name
            assert outcome.isprintable(), name
        else:
            assert outcome.mode == "RGB", name
            assert outcome.width * outcome.height <= MOST_PIXELS
            assert max(outcome.size) <= MOST_ASPECT * min(outcome.size)
    assert COUNT / 10 < refused < COUNT * 9 / 10, "the damage is neither harmless nor always fatal"
    assert capfd.readouterr() == ("", "")

"""The reader of images: the scaling of every kind of pixel, and what has no right value."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.files.image_files import RAMP, RGB, opened, pgm, pillow, plain, png, ppm, tiff
from vlbench.errors import InputError
from vlbench.files.images import FORMATS, open_image, to_rgb

GRAY_16 = RAMP.astype(np.uint16) * 257
GRAYS = {
    "PNG of 16 bits": png(GRAY_16, 16, 0),
    "PNG of 16 bits, with alpha": png(np.stack((GRAY_16, np.full_like(GRAY_16, 65535)), 2), 16, 4),
    "PNG of 16 bits, in colour": png(np.stack([GRAY_16] * 3, 2), 16, 2),
    "PNG of 16 bits, in colour, with alpha": png(np.stack([GRAY_16] * 3 + [np.full_like(GRAY_16, 65535)], 2), 16, 6),
    "PNG of 4 bits": png(np.rint(RAMP / 17), 4, 0),
    "PNG of 8 bits": png(RAMP, 8, 0),
    "TIFF of 16 bits": tiff(GRAY_16),
    "TIFF of 16 bits, big-endian": tiff(GRAY_16, order=">"),
    "TIFF of 16 bits, white is zero": tiff(65535 - GRAY_16, _262=(3, [0])),
    "TIFF of 16 bits, in colour": tiff(np.stack([GRAY_16] * 3, 2)),
    "TIFF of 16 bits, compressed": pillow(Image.fromarray(GRAY_16), "TIFF", compression="tiff_lzw"),
    "TIFF of 8 bits, white is zero": tiff(255 - RAMP, _262=(3, [0])),
    "TIFF of floats": tiff(RAMP.astype(np.float32) / 255),
    "TIFF of floats, white is zero": tiff(1 - RAMP.astype(np.float32) / 255, _262=(3, [0])),
    "TIFF of floats, compressed": pillow(
        Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF", compression="tiff_lzw"
    ),
    "PFM": pillow(Image.fromarray(RAMP.astype(np.float32) / 255), "PPM"),
    "PGM to 65535": pgm(GRAY_16, 65535),
    "PGM to 1023": pgm(np.rint(RAMP / 255 * 1023).astype(int), 1023),
    "plain PGM to 65535": plain(GRAY_16, 65535),
    "plain PGM to 1023": plain(np.rint(RAMP / 255 * 1023).astype(int), 1023),
    "JPEG 2000 of 16 bits": pillow(Image.fromarray(GRAY_16), "JPEG2000"),
}


@pytest.mark.parametrize("name", GRAYS)
def test_a_ramp_from_black_to_white_is_one_whatever_its_bits(tmp_path: Path, name: str) -> None:
    values = opened(tmp_path, GRAYS[name])
    assert values.shape == (16, 256, 3)
    least = 9 if "4 bits" in name else 1
    assert np.abs(values.astype(int) - RAMP[..., None]).max() <= least
    assert (values.min(), values.max()) == (0, 255)


WHITE, RED = (255, 255, 255), (255, 0, 0)
MODES: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "1": (1, WHITE),
    "L": (200, (200, 200, 200)),
    "LA": ((0, 0), WHITE),
    "La": ((51, 51), (204 + 51, 204 + 51, 204 + 51)),  # white, a fifth opaque
    "RGB": (RED, RED),
    "RGBA": ((255, 0, 0, 51), (255, 204, 204)),  # a fifth of red, the rest white
    "RGBa": ((51, 0, 0, 51), (255, 204, 204)),
    "RGBX": ((255, 0, 0, 0), RED),
    "CMYK": ((0, 255, 255, 0), RED),
    "YCbCr": ((76, 85, 255), (254, 0, 0)),  # JFIF: R = Y + 1.402 (Cr - 128)
    "HSV": ((0, 255, 255), RED),
    "I;16": (65535, WHITE),
    "I;16L": (65535, WHITE),
    "I;16B": (65535, WHITE),
    "F": (0.2, (51, 51, 51)),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_colour(mode: str) -> None:
    colour, expected = MODES[mode]
    image = Image.new(mode, (20, 16), colour)
    assert to_rgb(image, "image").getpixel((19, 15)) == expected


def test_lab_becomes_the_colour_that_it_names() -> None:
    for lab, expected in (((137, 128, 128), (128, 128, 128)), ((255, 128, 128), WHITE), ((138, 209, 198), RED)):
        image = Image.merge("LAB", [Image.new("L", (16, 16), value) for value in lab])  # a and b from -128
        np.testing.assert_allclose(to_rgb(image, "image").getpixel((3, 3)), expected, atol=6)


def test_a_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (32, 32), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    for kind in ("PNG", "GIF", "TIFF"):
        assert tuple(opened(tmp_path, pillow(image, kind))[3, 3]) == RED
    for kind in ("PNG", "GIF"):
        assert tuple(opened(tmp_path, pillow(image, kind, transparency=1))[3, 3]) == WHITE
    half = pillow(image, "PNG", transparency=bytes([255, 51]))
    assert tuple(opened(tmp_path, half)[3, 3]) == (255, 204, 204)
    with_alpha = Image.merge("LA", (Image.new("L", (32, 32), 1), Image.new("L", (32, 32), 51)))
    assert tuple(opened(tmp_path, pillow(with_alpha, "PNG"))[3, 3]) == (204, 204, 204)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_gray_is_the_one_in_the_files_own_bits(tmp_path: Path, bits: int) -> None:
    most = 2**bits - 1
    values = np.zeros((16, 64), int)
    values[:, 16:32], values[:, 32:] = min(1, most), most
    seen = opened(tmp_path, png(values, bits, 0, tRNS=struct.pack(">H", 0)))[0, :, 0]
    assert (seen[:16] == 255).all(), "the transparent level is white, like the page below it"
    assert (seen[32:] == 255).all()
    if bits > 1:
        assert seen[20] == round(255 / most)
    seen = opened(tmp_path, png(values, bits, 0, tRNS=struct.pack(">H", min(1, most))))[0, :, 0]
    assert (seen[:16] == 0).all()
    assert (seen[16:32] == 255).all()


def test_a_cmyk_jpeg_of_adobe_keeps_its_colours(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    np.testing.assert_allclose(opened(tmp_path, pillow(ink, "JPEG"))[9, 9], RED, atol=3)
    assert tuple(opened(tmp_path, pillow(ink, "TIFF"))[9, 9]) == RED


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "MPO", "AVIF"])
def test_the_first_of_several_frames_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    seen = opened(tmp_path, pillow(frames[0], kind, save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(seen[30, 30], RED, atol=8)


COLOURS = [0] * 768  # of a TIFF's palette: red, green and blue of 256 levels; level 1 is red
COLOURS[1] = 65535


def filled(*samples: float, kind: type = np.uint8) -> np.ndarray:
    return np.tile(np.array(samples, kind), (16, 16, 1))


TIFFS = {  # tag 262: photometric interpretation, 338: extra samples, 1 for premultiplied alpha and 2 for alpha
    "palette with alpha": (tiff(filled(1, 51), _262=(3, [3]), _320=(3, COLOURS), _338=(3, [2])), (255, 204, 204)),
    "gray with premultiplied alpha": (tiff(filled(51, 51), _262=(3, [1]), _338=(3, [1])), WHITE),
    "gray with alpha": (tiff(filled(0, 51), _262=(3, [1]), _338=(3, [2])), (204, 204, 204)),
    "gray with another sample": (tiff(filled(9, 51), _262=(3, [1]), _338=(3, [0])), (9, 9, 9)),
    "premultiplied alpha": (tiff(filled(51, 0, 0, 51), _338=(3, [1])), (255, 204, 204)),
    "alpha of 16 bits": (tiff(filled(65535, 0, 0, 13107, kind=np.uint16), _338=(3, [2])), (255, 204, 204)),
    "premultiplied, 16 bits": (tiff(filled(13107, 0, 0, 13107, kind=np.uint16), _338=(3, [1])), (255, 204, 204)),
    "CMYK": (tiff(filled(0, 255, 255, 0), _262=(3, [5])), RED),
    "CMYK of 16 bits": (tiff(filled(0, 65535, 65535, 0, kind=np.uint16), _262=(3, [5])), RED),
    "YCbCr": (tiff(filled(76, 85, 255), _262=(3, [6]), _530=(3, [1, 1])), (254, 0, 0)),
    "floats, big-endian, white is zero": (
        tiff(filled(1, kind=np.float32)[..., 0], order=">", _262=(3, [0])),
        (0, 0, 0),
    ),
}


@pytest.mark.parametrize("name", TIFFS)
def test_each_layout_of_tiff_has_its_colour(tmp_path: Path, name: str) -> None:
    data, expected = TIFFS[name]
    assert tuple(opened(tmp_path, data)[3, 3]) == expected


REFUSED = {
    "32-bit integers": (tiff(GRAY_16.astype(np.uint32)), "32-bit integers, of which white is unknown"),
    "signed 32 bits": (tiff(GRAY_16.astype(np.int32)), "signed integers, of which white is unknown"),
    "signed 16 bits": (tiff(RAMP.astype(np.int16)), "signed integers"),
    "signed 8 bits": (tiff(RAMP.astype(np.int8)), "signed integers"),
    "floats to 255": (tiff(RAMP.astype(np.float32)), "numbers outside 0 to 1, of which white is unknown"),
    "negative floats": (tiff(RAMP.astype(np.float32) / 255 - 1), "numbers outside 0 to 1"),
    "not a number": (tiff(np.full((16, 16), np.nan, np.float32)), "numbers outside 0 to 1"),
    "infinite": (tiff(np.full((16, 16), np.inf, np.float32)), "numbers outside 0 to 1"),
    "planes of 16 bits": (tiff(np.stack([GRAY_16] * 3, 2), _284=(3, [2])), "separate planes of this kind"),
    "a plane with white as zero": (tiff(255 - RAMP, _262=(3, [0]), _284=(3, [2])), "separate planes of this kind"),
    "a strip too few": (tiff(RAMP, _257=(4, [32]), _278=(4, [16])), "damaged or cut off"),
    "strips upon strips": (
        tiff(RAMP, _322=(3, [128]), _323=(3, [16]), _324=(4, [8] * 90), _273=None, _278=None, _279=None),
        "damaged or cut off",
    ),
    "subsampled": (tiff(RGB, _262=(3, [6])), "subsampled colours"),
    "a transparent colour of 16 bits": (
        png(np.stack([GRAY_16] * 3, 2), 16, 2, tRNS=bytes(6)),
        "16 bits a channel and a transparent colour",
    ),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n", "not an image"),
    "QOI": (pillow(Image.fromarray(RGB), "QOI"), "not an image"),
    "a text chunk of 80 MB": (png(RAMP, 8, 0, zTXt=b"a\0\0" + zlib.compress(bytes(80 << 20))), "too large"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_right_value_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    (tmp_path / "image").write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        open_image(tmp_path / "image", option="--image ")
    assert str(caught.value).startswith(f"--image {tmp_path / 'image'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("most", [7, 255, 300, 65535])
def test_a_ppm_is_scaled_from_its_maximum(tmp_path: Path, most: int) -> None:
    values = np.rint(RGB / 255 * most).astype(int)
    np.testing.assert_array_equal(opened(tmp_path, ppm(values, most)), np.rint(values * (255 / most)))
    text = b"P3 256 16 %d\n# a comment\n" % most + "\n".join(map(str, values.ravel())).encode()
    np.testing.assert_array_equal(opened(tmp_path, text), np.rint(values * (255 / most)))


def test_a_plain_bitmap_has_black_ones(tmp_path: Path) -> None:
    rows = b"P1\n16 16 # the size\n" + b"0101 01010101 0101 # half\n" * 16
    seen = opened(tmp_path, rows)
    assert seen[3, :4, 0].tolist() == [255, 0, 255, 0]
    assert seen.shape == (16, 16, 3)


def test_every_format_is_one_of_pillows() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)

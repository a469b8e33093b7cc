"""The reader of images: the scaling of every kind of pixel, orientations, bounds, and what is refused in one line."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlbench.errors import InputError
from vlbench.files.images import FORMATS, MOST_ASPECT, open_image, to_rgb

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))  # (16, 256)
RGB = np.stack((RAMP, RAMP[:, ::-1], np.full_like(RAMP, 77)), axis=2)


def png(values: np.ndarray, bits: int, colour: int, **chunks: bytes) -> bytes:
    """A PNG of (H, W) or (H, W, C) samples, as its specification says: filter 0 in each row, big-endian samples."""

    def chunk(name: str, body: bytes) -> bytes:
        content = name.encode() + body
        return struct.pack(">I", len(body)) + content + struct.pack(">I", zlib.crc32(content))

    height, width = values.shape[:2]
    if bits < 8:
        digits = np.unpackbits(values[..., None].astype(np.uint8), axis=-1)[..., 8 - bits :]
        rows = np.packbits(digits.reshape(height, -1), axis=1)
    else:
        rows = values.astype(">u2" if bits == 16 else np.uint8).reshape(height, -1)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    extra = b"".join(chunk(name, body) for name, body in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + extra + chunk("IDAT", zlib.compress(body)) + chunk("IEND", b"")
    )


def tiff(values: np.ndarray, *, order: str = "<", **tags: Any) -> bytes:
    """An uncompressed TIFF 6.0 of one strip; `tags` replaces those of a gray image with black as zero."""
    height, width = values.shape[:2]
    count = values.shape[2] if values.ndim == 3 else 1
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    fields = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8 * values.dtype.itemsize] * count),
        259: (3, [1]),
        262: (3, [1 if count == 1 else 2]),
        273: (4, [8]),
        277: (3, [count]),
        278: (4, [height]),
        279: (4, [len(data)]),
        339: (3, [{"u": 1, "i": 2, "f": 3}[values.dtype.kind]] * count),
    } | {int(name[1:]): value for name, value in tags.items()}
    fields = {tag: value for tag, value in fields.items() if value}
    offset = 8 + len(data)
    entries, later = b"", b""
    start = offset + 2 + 12 * len(fields) + 4
    for tag, (kind, numbers) in sorted(fields.items()):
        body = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(body) > 4:
            later, body = later + body, struct.pack(f"{order}I", start + len(later))
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + body.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, offset)
    return head + data + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + later


def pillow(image: Image.Image, kind: str, **more: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, kind, **more)
        return file.getvalue()


def pgm(values: np.ndarray, most: int) -> bytes:
    return b"P5 %d %d %d\n" % (*values.shape[::-1], most) + values.astype(">u2").tobytes()


def plain(values: np.ndarray, most: int) -> bytes:
    return b"P2 %d %d %d\n" % (*values.shape[::-1], most) + " ".join(map(str, values.ravel())).encode()


def opened(folder: Path, data: bytes) -> np.ndarray:
    path = folder / "image"
    path.write_bytes(data)
    return np.asarray(open_image(path))


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


def ppm(values: np.ndarray, most: int) -> bytes:
    return b"P6 %d %d %d\n" % (*values.shape[1::-1], most) + values.astype(">u2" if most > 255 else np.uint8).tobytes()


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
    path.write_bytes(GRAYS["TIFF of 16 bits, compressed"])
    code = (
        f"from pathlib import Path; from vlbench.files.images import open_image; print(open_image(Path({str(path)!r})))"
    )
    command = ["bash", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert "size=256x16" in ended.stdout


def test_every_format_is_one_of_pillows() -> None:
    Image.init()
    assert set(FORMATS) <= set(Image.OPEN)

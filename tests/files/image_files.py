"""Image files made by their specifications, byte by byte, or by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlbench.files.images import open_image

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


def ppm(values: np.ndarray, most: int) -> bytes:
    return b"P6 %d %d %d\n" % (*values.shape[1::-1], most) + values.astype(">u2" if most > 255 else np.uint8).tobytes()

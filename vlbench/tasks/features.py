"""Precomputed region features in the TSV formats of bottom-up attention (Anderson et al. 2018) and of LXMERT."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import InputError
from vlbench.files.text import BYTE_ORDER_MARK, check_regular
from vlbench.tasks.region_features import ImageRegions, RegionSource

FIELDS = (
    "img_id",
    "img_h",
    "img_w",
    "objects_id",
    "objects_conf",
    "attrs_id",
    "attrs_conf",
    "num_boxes",
    "boxes",
    "features",
)
BOTTOM_UP_FIELDS = ("img_id", "img_w", "img_h", "num_boxes", "boxes", "features")  # width before height
LAYOUTS = {len(fields): fields for fields in (FIELDS, BOTTOM_UP_FIELDS)}
READ_FIELDS = sorted(BOTTOM_UP_FIELDS)
MOST_BYTES, MOST_LINE_BYTES = 1 << 50, 1 << 26  # COCO's regions have 46 GB; a line of 100 regions has 1 MB
NUMBERED = re.compile(r"(?:COCO_\w+_)?0*(\d+)")
SMALLEST, LARGEST = 1e-12, 1e10  # of features; float64 or float16 that is read as float32 goes beyond


def open_regions(path: Path) -> RegionSource:
    """Opens a folder as an LMDB, a file as a TSV. Raises InputError if it is neither."""
    if not os.path.isdir(path):
        return RegionTsv(path)
    from vlbench.tasks.features_lmdb import RegionLmdb  # noqa: PLC0415  needs lmdb

    return RegionLmdb(path)


class RegionTsv:
    """A TSV file of regions. Opening it finds where each image's line begins; a line is decoded when it is read.

    Lines have LXMERT's ten fields, bottom-up attention's six, or those that a first line names. Blank lines and a
    repetition of a line are skipped.

    Raises InputError if the file cannot be read, or a line does not have the fields of the first.

    Args:
        path: a file of tab-separated fields, with numbers as text and arrays as base64 of float32.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, tuple[int, int]] = {}  # by image: the offset of its line in bytes, and the line's number
        self.columns: Mapping[str, int] = {}
        self.field_count = 0
        check_regular(path, most_bytes=MOST_BYTES)
        try:
            with path.open("rb") as file:
                offset = len(BYTE_ORDER_MARK) if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
                file.seek(offset)
                number = 0
                while line := file.readline(MOST_LINE_BYTES):
                    number += 1
                    if not line.isspace():
                        self._add_line(line, offset, number)
                    offset += len(line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if not self.lines:
            raise InputError(f"{path}: holds no image")

    def _add_line(self, line: bytes, offset: int, number: int) -> None:
        where, count = f"{self.path} line {number}", line.count(b"\t") + 1
        if not self.columns:
            names = [name.strip() for name in line.decode("utf-8", errors="replace").split("\t")]
            self._read_layout(names, where)
            if "features" in names:
                return
        elif count != self.field_count:
            raise InputError(f"{where}: not {self.field_count} fields; cut off or damaged")
        name = line.split(b"\t", self.columns["img_id"] + 1)[self.columns["img_id"]].decode("utf-8", errors="replace")
        if name not in self.lines:
            self.lines[name] = offset, number
        elif self._line(self.lines[name][0]) != line.rstrip(b"\r\n"):
            first = self.lines[name][1]
            raise InputError(f"{where}: {name} occurs twice, with other regions in line {first}; keep one of them")

    def _read_layout(self, first: list[str], where: str) -> None:
        """Takes the fields from the first line: their names, if it has them, or their number."""
        self.field_count = len(first)
        if "features" in first:
            fields = tuple(re.sub("^image_", "img_", name) for name in first)
            if missing := sorted(set(READ_FIELDS) - set(fields)):
                raise InputError(f"{where}: names no field {', '.join(missing)}")
        elif self.field_count in LAYOUTS:
            fields = LAYOUTS[self.field_count]
        else:
            known = " or ".join(map(str, sorted(LAYOUTS, reverse=True)))
            raise InputError(f"{where}: not {known} fields; not a TSV of region features")
        self.columns = {name: fields.index(name) for name in READ_FIELDS}

    def _line(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.readline(MOST_LINE_BYTES).rstrip(b"\r\n")

    def _key(self, name: object) -> str | None:
        """The name in the file of an image whose file has this name; COCO's images may have their number alone."""
        if name in self.lines:
            return str(name)
        match = NUMBERED.fullmatch(str(name))
        return match[1] if match and match[1] in self.lines else None

    def __contains__(self, name: object) -> bool:
        return self._key(name) is not None

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, name: str) -> ImageRegions:
        """The regions of the image whose file has this name, without its suffix.

        Raises InputError if the image is missing, its line is damaged, a value is not finite, or a box is outside the
        image.
        """
        key = self._key(name)
        if key is None:
            example = next(iter(self.lines))[:60]
            raise InputError(
                f"{self.path}: no regions of {name}, but of images like {example}; extract them, or leave such items "
                "out: --limit"
            )
        offset, number = self.lines[key]
        where = f"{self.path} line {number}"
        fields = dict(zip(self.columns, self._fields(offset), strict=True))
        try:
            count, height, width = (int(fields[name]) for name in ("num_boxes", "img_h", "img_w"))
            boxes, features = (_float32(fields[name], where, name, count) for name in ("boxes", "features"))
        except (ValueError, binascii.Error) as error:
            raise InputError(f"{where}: cut off or damaged ({str(error)[:80]})") from error
        if count < 1 or len(boxes) != 4 * count or not len(features) or len(features) % count:
            raise InputError(f"{where}: {count} boxes, but {len(boxes)} coordinates and {len(features)} feature values")
        if not (np.isfinite(features).all() and np.isfinite(boxes).all()):
            raise InputError(f"{where}: {name} has features that are not finite numbers; save them as float32")
        sizes = np.abs(features[features != 0])
        if (sizes > LARGEST).any() or (sizes < SMALLEST).sum() > 0.01 * len(sizes):
            raise InputError(f"{where}: features from {sizes.min():.0e} to {sizes.max():.0e}; save them as float32")
        boxes = boxes.reshape(count, 4)
        _check_boxes(boxes, height, width, where)
        return ImageRegions(features=features.reshape(count, -1), boxes=boxes, height=height, width=width)

    def _fields(self, offset: int) -> list[bytes]:
        fields = self._line(offset).split(b"\t")
        return [fields[column] for column in self.columns.values()]


def _float32(field: bytes, where: str, name: str, count: int) -> NDArray[np.float32]:
    """An array from base64, which Python 3 may have written as `b'...'`. Raises ValueError if it is damaged."""
    if field.startswith(b"b'") and field.endswith(b"'"):
        field = field[2:-1]
    content = base64.b64decode(field, validate=True)
    if name == "boxes" and len(content) in (8 * count, 32 * count) and count > 0:
        kind = f"float{len(content) // count * 2}"
        raise InputError(f"{where}: boxes of {kind}; save boxes and features as float32")
    return np.frombuffer(content, np.float32)


def _check_boxes(boxes_R4: NDArray[np.float32], height: int, width: int, where: str) -> None:
    """Raises InputError if a box is not one of an image of this size in pixels."""
    if min(height, width) < 1:
        raise InputError(f"{where}: an image of {width} x {height} pixels")
    left, top, right, bottom = boxes_R4.T
    if (right < left).any() or (bottom < top).any():
        raise InputError(f"{where}: a box whose right is left of its left, or bottom above its top")
    if boxes_R4.max() <= 1 and min(height, width) > 1:
        raise InputError(f"{where}: boxes relative to the image; multiply them by its width and height")
    most = 1.05 * np.array([width, height]) + 1  # some detectors do not clip their boxes
    if boxes_R4.min() < -0.05 * max(height, width) - 1 or (right > most[0]).any() or (bottom > most[1]).any():
        raise InputError(f"{where}: boxes outside the image of {width} x {height} pixels; were its sides swapped?")

"""Precomputed region features in the TSV format of bottom-up attention (Anderson et al. 2018), which LXMERT reads."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import numpy as np

from vlbench.errors import InputError
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
ID, HEIGHT, WIDTH, CONFIDENCE, COUNT, BOXES, FEATURES = (
    FIELDS.index(name) for name in ("img_id", "img_h", "img_w", "objects_conf", "num_boxes", "boxes", "features")
)


def open_regions(path: Path) -> RegionSource:
    """Opens a folder as an LMDB, a file as a TSV. Raises InputError if it is neither."""
    if not path.is_dir():
        return RegionTsv(path)
    from vlbench.tasks.features_lmdb import RegionLmdb  # noqa: PLC0415  needs lmdb

    return RegionLmdb(path)


class RegionTsv:
    """A TSV file of regions. Opening it finds where each image's line begins; a line is decoded when it is read.

    Raises InputError if the file cannot be read or a line does not have ten fields.

    Args:
        path: a file of tab-separated fields, with numbers as text and arrays as base64 of float32.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, tuple[int, int]] = {}  # by image: the offset of its line in bytes, and the line's number
        try:
            with path.open("rb") as file:
                offset = 0
                for number, line in enumerate(file, start=1):
                    self._add_line(line, offset, number)
                    offset += len(line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if not self.lines:
            raise InputError(f"{path}: holds no image")

    def _add_line(self, line: bytes, offset: int, number: int) -> None:
        if line.count(b"\t") != len(FIELDS) - 1:
            what = "cut off or damaged" if self.lines else "not a TSV of region features"
            raise InputError(f"{self.path} line {number}: not {len(FIELDS)} fields; {what}")
        name = line[: line.index(b"\t")].decode("utf-8", errors="replace")
        if name in self.lines:
            raise InputError(f"{self.path} line {number}: {name} occurs twice")
        self.lines[name] = offset, number

    def __contains__(self, name: object) -> bool:
        return name in self.lines

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, name: str) -> ImageRegions:
        """The regions of the image whose file has this name, without its suffix.

        Raises InputError if the image is missing, its line is damaged, or a value is not finite.
        """
        if name not in self.lines:
            raise InputError(f"{self.path}: no regions of {name}; extract them, or leave such items out: --limit")
        offset, number = self.lines[name]
        with self.path.open("rb") as file:
            file.seek(offset)
            fields = file.readline().rstrip(b"\r\n").split(b"\t")
        where = f"{self.path} line {number}"
        try:
            count, height, width = (int(fields[index]) for index in (COUNT, HEIGHT, WIDTH))
            boxes = np.frombuffer(base64.b64decode(fields[BOXES], validate=True), np.float32)
            features = np.frombuffer(base64.b64decode(fields[FEATURES], validate=True), np.float32)
        except (ValueError, binascii.Error) as error:
            raise InputError(f"{where}: cut off or damaged ({error})") from error
        if count < 1 or len(boxes) != 4 * count or not len(features) or len(features) % count:
            raise InputError(f"{where}: {count} boxes, but {len(boxes)} coordinates and {len(features)} feature values")
        if not (np.isfinite(features).all() and np.isfinite(boxes).all()):
            raise InputError(f"{where}: {name} has features that are not finite numbers")
        return ImageRegions(
            features=features.reshape(count, -1), boxes=boxes.reshape(count, 4), height=height, width=width
        )

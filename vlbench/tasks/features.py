"""Precomputed region features: the TSV of bottom-up attention that LXMERT and its kin read (Anderson et al. 2018)."""

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
    """A folder is an LMDB, a file a TSV. Raises InputError where it is neither."""
    if not path.is_dir():
        return RegionTsv(path)
    from vlbench.tasks.features_lmdb import RegionLmdb  # noqa: PLC0415  it needs this module

    return RegionLmdb(path)


class RegionTsv:
    """A file of regions, of which only the lines that are asked for are decoded.

    Raises InputError where the file is not there or a line is not of ten fields.

    Args:
        path: lines of tab-separated fields, numbers as text, arrays as base64 of float32.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: dict[str, tuple[int, int]] = {}  # where an image's line begins, and its number
        try:
            with path.open("rb") as file:
                offset = 0
                for number, line in enumerate(file, start=1):
                    self._enter(line, offset, number)
                    offset += len(line)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if not self.offsets:
            raise InputError(f"{path}: holds no image")

    def _enter(self, line: bytes, offset: int, number: int) -> None:
        if line.count(b"\t") != len(FIELDS) - 1:
            what = "cut off or damaged" if self.offsets else "not a TSV of region features"
            raise InputError(f"{self.path} line {number}: not {len(FIELDS)} fields; {what}")
        name = line[: line.index(b"\t")].decode("utf-8", errors="replace")
        if name in self.offsets:
            raise InputError(f"{self.path} line {number}: {name} stands there twice")
        self.offsets[name] = offset, number

    def __contains__(self, name: object) -> bool:
        return name in self.offsets

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, name: str) -> ImageRegions:
        """The regions of an image, named without its file's ending.

        Raises InputError where it is not there, its line is damaged, or a feature is no number.
        """
        if name not in self.offsets:
            raise InputError(f"{self.path}: no regions of {name}; extract them, or leave such items out: --limit")
        offset, number = self.offsets[name]
        with self.path.open("rb") as file:
            file.seek(offset)
            fields = file.readline().rstrip(b"\r\n").split(b"\t")
        where = f"{self.path} line {number}"
        try:
            count, height, width = (int(fields[place]) for place in (COUNT, HEIGHT, WIDTH))
            boxes = np.frombuffer(base64.b64decode(fields[BOXES], validate=True), np.float32)
            features = np.frombuffer(base64.b64decode(fields[FEATURES], validate=True), np.float32)
        except (ValueError, binascii.Error) as error:
            raise InputError(f"{where}: cut off or damaged ({error})") from error
        if count < 1 or len(boxes) != 4 * count or not len(features) or len(features) % count:
            raise InputError(f"{where}: {count} boxes, but {len(boxes)} coordinates and {len(features)} feature values")
        found = ImageRegions(
            features=features.reshape(count, -1), boxes=boxes.reshape(count, 4), height=height, width=width
        )
        if not (np.isfinite(found.features).all() and np.isfinite(found.boxes).all()):
            raise InputError(f"{where}: {name} has features that are no finite numbers")
        return found

"""Precomputed region features in the LMDB format of UNITER's released code (Chen et al. 2020)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import InputError
from vlbench.files.arrays import DAMAGE, parse_arrays
from vlbench.files.json_files import parse_json
from vlbench.tasks.region_features import ImageRegions

if TYPE_CHECKING:
    import lmdb

FILE, KEYS = "data.mdb", b"__keys__"
PREFIXES = ("nlvr2_", "flickr30k_")  # that UNITER adds to the name of an image's file
# Of a database with all regions, UNITER takes those above this confidence, within these numbers.
LEAST_CONFIDENCE, FEWEST, MOST = 0.2, 10, 100
ARRAYS = ("features", "norm_bb", "conf")
Arrays = dict[str, NDArray[Any]]


class RegionLmdb:
    """A database of regions. An entry is decoded when it is read.

    Boxes are stored relative to the image, whose size in pixels is not stored: `height` and `width` are 1. Only corners
    are read, mostly in half precision; the widths and heights that are stored with them are not.

    Raises InputError if there is no such database, or if lmdb or msgpack is not installed.

    Args:
        path: the folder of `data.mdb`, or its parent.
    """

    def __init__(self, path: Path) -> None:
        self.path = _database(path)
        with self._transaction() as transaction:
            listed = transaction.get(KEYS)
            keys = (
                parse_json(bytes(listed), f"{self.path}: {KEYS.decode()}")
                if listed
                else [bytes(key).decode() for key, _ in transaction.cursor()]
            )
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise InputError(f"{self.path}: {KEYS.decode()} is no list of names; the database is damaged")
        self.keys = {_image_name(key): key for key in keys}
        if not self.keys:
            raise InputError(f"{self.path}: holds no image")
        duplicate = next((key for key in keys if self.keys[_image_name(key)] != key), None)
        if duplicate is not None:
            raise InputError(f"{self.path}: {duplicate} and {self.keys[_image_name(duplicate)]} name the same image")

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction]:
        """Opens the database for each use, because an open LMDB must not be shared between processes."""
        library = _library("lmdb")
        try:
            with (
                library.open(str(self.path), readonly=True, create=False, lock=False, readahead=False) as environment,
                environment.begin(buffers=True) as transaction,
            ):
                self._check_length(environment)
                yield transaction
        except (library.Error, ValueError) as error:
            raise InputError(f"{self.path}: not an LMDB of region features, or damaged ({error})") from error

    def _check_length(self, environment: lmdb.Environment) -> None:
        """Raises InputError if the file is shorter than its header says: reading beyond its end kills the process."""
        declared_bytes = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        if (self.path / FILE).stat().st_size < declared_bytes:
            raise InputError(f"{self.path / FILE}: cut off, it should have {declared_bytes:,} bytes; fetch it again")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _image_name(name) in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, name: str) -> ImageRegions:
        """The regions of the image whose file has this name, without its suffix.

        Raises InputError if the image is missing, its entry is damaged, or a value is not finite.
        """
        if name not in self:
            example = next(iter(self.keys.values()))
            raise InputError(f"{self.path}: no regions of {name}, but of images like {example}; leave it out: --limit")
        key = self.keys[_image_name(name)]
        with self._transaction() as transaction:
            buffer = transaction.get(key.encode())
            entry = None if buffer is None else bytes(buffer)
        where = f"{self.path}: {key}"
        if entry is None:
            raise InputError(f"{where}: listed, but missing; the database is cut off")
        return self._regions(_arrays(entry, where), where)

    def _regions(self, arrays: Arrays, where: str) -> ImageRegions:
        missing = [name for name in ("features", "norm_bb") if name not in arrays]
        if missing:
            raise InputError(f"{where}: has no {' and no '.join(missing)}")
        features, boxes = (arrays[name].astype(np.float32) for name in ("features", "norm_bb"))
        if not (features.ndim == boxes.ndim == 2 and len(features) == len(boxes) > 0 and boxes.shape[1] >= 4):
            raise InputError(f"{where}: features of shape {features.shape} for boxes of shape {boxes.shape}")
        count = len(features)
        if self.path.name.startswith("all") and "conf" in arrays:
            count = min(count, MOST, max(FEWEST, int((arrays["conf"] > LEAST_CONFIDENCE).sum())))
        features, boxes = features[:count], boxes[:count, :4]
        if not (np.isfinite(features).all() and np.isfinite(boxes).all()):
            raise InputError(f"{where}: has features that are not finite numbers")
        if boxes.min() < -0.5 or boxes.max() > 1.5:
            raise InputError(
                f"{where}: norm_bb has {boxes.min():g} to {boxes.max():g}, not shares of the image's sides"
            )
        return ImageRegions(features=features, boxes=boxes, height=1, width=1)


def _library(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(f"reading an LMDB of regions needs {name}: pip install 'vlbench[lmdb]'") from error


def _database(path: Path) -> Path:
    """The folder that holds the database: `path`, or its only subfolder that holds one."""
    if (path / FILE).is_file():
        return path
    subfolders = sorted(file.parent for file in path.glob(f"*/{FILE}"))
    if len(subfolders) == 1:
        return subfolders[0]
    if not subfolders:
        raise InputError(f"{path}: no LMDB; the folder of its {FILE} works")
    raise InputError(f"{path}: several LMDBs, {', '.join(folder.name for folder in subfolders)}; name one of them")


def _image_name(key: str) -> str:
    """`dev-0-0-img0` for `nlvr2_dev-0-0-img0.npz`, `42` for `flickr30k_000000000042.npz`."""
    name = key.removesuffix(".npz").lower()
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name.lstrip("0") or "0" if name.isdigit() else name


def _arrays(entry: bytes, where: str) -> Arrays:
    """The arrays of an entry: an .npz if it is compressed, msgpack otherwise."""
    try:
        if entry.startswith(b"PK"):
            content = parse_arrays(io.BytesIO(entry), where, ARRAYS)
        else:
            content = _library("msgpack").unpackb(entry, raw=False, object_hook=_array)
        return {
            name: value
            for name, value in content.items()
            if name in ARRAYS and isinstance(value, np.ndarray) and value.dtype.kind == "f"
        }
    except InputError:
        raise
    except (*DAMAGE, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{where}: cut off or damaged ({str(error)[:80]})") from error


def _array(entry: dict[Any, Any]) -> Any:
    """Decodes an array that msgpack-numpy wrote. An array of Python objects is a pickle, and is not decoded."""
    if not entry.get(b"nd") or entry.get(b"kind") == b"O":
        return entry
    return np.frombuffer(entry[b"data"], np.dtype(entry[b"type"])).reshape(entry[b"shape"])

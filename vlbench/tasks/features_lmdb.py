"""Precomputed region features in the LMDB that UNITER's released code makes and reads (Chen et al. 2020)."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vlbench.errors import InputError
from vlbench.tasks.region_features import ImageRegions

if TYPE_CHECKING:
    import lmdb

FILE, KEYS = "data.mdb", b"__keys__"
PREFIXES = ("nlvr2_", "flickr30k_")  # that UNITER puts before an image's own name
CONFIDENT, FEWEST, MOST = 0.2, 10, 100  # regions that UNITER takes of a database of all of them
ARRAYS = ("features", "norm_bb", "conf")
Arrays = dict[str, NDArray[Any]]


class RegionLmdb:
    """A database of regions, of which only those that are asked for are decoded.

    Its boxes are shares of the image, whose size in pixels it does not tell: each image counts as 1 x 1. Corners are
    kept as they were stored, mostly in half precision; a width is the difference of two.

    Raises InputError where there is no such database, or lmdb or msgpack are not installed.

    Args:
        path: the folder of `data.mdb`, or the one above it.
    """

    def __init__(self, path: Path) -> None:
        self.path = _database(path)
        with self._transaction() as transaction:
            listed = transaction.get(KEYS)
            keys = json.loads(bytes(listed)) if listed else [bytes(key).decode() for key, _ in transaction.cursor()]
        self.keys = {_own_name(key): key for key in keys}
        if not self.keys:
            raise InputError(f"{self.path}: holds no image")
        if len(self.keys) < len(keys):
            doubled = next(key for key in keys if self.keys[_own_name(key)] != key)
            raise InputError(f"{self.path}: {doubled} and {self.keys[_own_name(doubled)]} are one image's")

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction]:
        """Opened for each use, as no process may use what another has opened."""
        library = _library("lmdb")
        try:
            with (
                library.open(str(self.path), readonly=True, create=False, lock=False, readahead=False) as environment,
                environment.begin(buffers=True) as transaction,
            ):
                yield transaction
        except (library.Error, ValueError) as error:
            raise InputError(f"{self.path}: not an LMDB of region features, or damaged ({error})") from error

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _own_name(name) in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, name: str) -> ImageRegions:
        """The regions of an image, named without its file's ending.

        Raises InputError where it is not there, its entry is damaged, or a feature is no number.
        """
        if name not in self:
            example = next(iter(self.keys.values()))
            raise InputError(f"{self.path}: no regions of {name}, but of images like {example}; leave it out: --limit")
        key = self.keys[_own_name(name)]
        with self._transaction() as transaction:
            found = transaction.get(key.encode())
            entry = None if found is None else bytes(found)
        where = f"{self.path}: {key}"
        if entry is None:
            raise InputError(f"{where}: listed, but not there; the database is cut off")
        return self._regions(_arrays(entry, where), where)

    def _regions(self, arrays: Arrays, where: str) -> ImageRegions:
        missing = [name for name in ("features", "norm_bb") if name not in arrays]
        if missing:
            raise InputError(f"{where}: has no {' and no '.join(missing)}")
        features, boxes = (arrays[name].astype(np.float32) for name in ("features", "norm_bb"))
        fits = features.ndim == boxes.ndim == 2 and len(features) == len(boxes) > 0 and boxes.shape[1] >= 4
        if not fits:
            raise InputError(f"{where}: features of shape {features.shape} for boxes of shape {boxes.shape}")
        count = len(features)
        if self.path.name.startswith("all") and "conf" in arrays:
            count = min(count, MOST, max(FEWEST, int((arrays["conf"] > CONFIDENT).sum())))
        found = ImageRegions(features=features[:count], boxes=boxes[:count, :4], height=1, width=1)
        if not (np.isfinite(found.features).all() and np.isfinite(found.boxes).all()):
            raise InputError(f"{where}: has features that are no finite numbers")
        return found


def _library(name: str) -> ModuleType:
    try:
        return __import__(name)
    except ImportError as error:
        raise InputError(f"reading an LMDB of regions needs {name}: pip install 'vlbench[lmdb]'") from error


def _database(path: Path) -> Path:
    if (path / FILE).is_file():
        return path
    inner = sorted(folder.parent for folder in path.glob(f"*/{FILE}"))
    if len(inner) == 1:
        return inner[0]
    if not inner:
        raise InputError(f"{path}: no LMDB; the folder of its {FILE} works")
    raise InputError(f"{path}: several LMDBs, {', '.join(folder.name for folder in inner)}; name one of them")


def _own_name(key: str) -> str:
    """`dev-0-0-img0` for `nlvr2_dev-0-0-img0.npz`, `42` for `flickr30k_000000000042.npz`."""
    name = key.removesuffix(".npz").lower()
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name.lstrip("0") or "0" if name.isdigit() else name


def _arrays(entry: bytes, where: str) -> Arrays:
    """The arrays of a compressed entry, an .npz, or of a plain one, arrays in msgpack."""
    try:
        if entry.startswith(b"PK"):
            with np.load(io.BytesIO(entry), allow_pickle=False) as stored:
                found = {name: stored[name] for name in ARRAYS if name in stored.files}
        else:
            found = _library("msgpack").unpackb(entry, raw=False, object_hook=_array)
        return {
            name: value
            for name, value in found.items()
            if name in ARRAYS and isinstance(value, np.ndarray) and value.dtype.kind == "f"
        }
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, OSError, BadZipFile, zlib.error) as error:
        raise InputError(f"{where}: cut off or damaged ({error})") from error


def _array(entry: dict[Any, Any]) -> Any:
    """An array as msgpack-numpy writes it; one of Python objects would be a pickle, and stays what it is."""
    if not entry.get(b"nd") or entry.get(b"kind") == b"O":
        return entry
    return np.frombuffer(entry[b"data"], np.dtype(entry[b"type"])).reshape(entry[b"shape"])

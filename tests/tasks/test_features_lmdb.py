"""UNITER's LMDB of regions: made here as its released code makes it, and every kind of damage."""

from __future__ import annotations

import builtins
import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlbench.errors import InputError
from vlbench.tasks.features import RegionTsv, open_regions
from vlbench.tasks.features_lmdb import RegionLmdb

lmdb = pytest.importorskip("lmdb")
msgpack = pytest.importorskip("msgpack")
msgpack_numpy = pytest.importorskip("msgpack_numpy")

Dump = Mapping[str, np.ndarray]


def dump(count: int = 3, channels: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    """What UNITER stores for an image: half precision; relative boxes, with their width and height."""
    random = np.random.default_rng(seed)
    corner, extent = random.uniform(0, 0.5, (count, 2)), random.uniform(0.1, 0.5, (count, 2))
    return {
        "features": random.uniform(0, 3, (count, channels)).astype(np.float16),
        "norm_bb": np.hstack((corner, corner + extent, extent)).astype(np.float16),
        "conf": np.sort(random.uniform(0, 1, count))[::-1].astype(np.float16),
        "soft_labels": random.uniform(0, 1, (count, 5)).astype(np.float16),
    }


def compressed(arrays: Dump) -> bytes:
    with io.BytesIO() as writer:
        np.savez_compressed(writer, **arrays, also=np.array(True))
        return writer.getvalue()


def packed(arrays: Mapping[str, Any]) -> bytes:
    return msgpack.packb(arrays, default=msgpack_numpy.encode, use_bin_type=True)


def write_lmdb(folder: Path, entries: Mapping[str, bytes], *, listed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as transaction:
        for key, entry in entries.items():
            transaction.put(key.encode(), entry)
        if listed:
            transaction.put(b"__keys__", json.dumps(list(entries)).encode())
    return folder


@pytest.mark.parametrize("form", [compressed, packed])
def test_stored_regions_are_read(tmp_path: Path, form: Any) -> None:
    stored = {f"coco_val2014_00000000000{n}.npz": dump(count=2 + n, seed=n) for n in range(3)}
    regions = RegionLmdb(write_lmdb(tmp_path / "db", {key: form(arrays) for key, arrays in stored.items()}))
    assert len(regions) == 3
    for n, arrays in enumerate(stored.values()):
        name = f"COCO_val2014_00000000000{n}"
        assert name in regions
        found = regions.read(name)
        assert (found.features.dtype, found.boxes.dtype) == (np.float32, np.float32)
        np.testing.assert_array_equal(found.features, arrays["features"].astype(np.float32))
        np.testing.assert_array_equal(found.boxes, arrays["norm_bb"][:, :4].astype(np.float32))
        assert (found.height, found.width) == (1, 1)


def test_a_database_can_be_pickled(tmp_path: Path) -> None:
    regions = RegionLmdb(write_lmdb(tmp_path, {"a.npz": compressed(GOOD)}))
    copy = pickle.loads(pickle.dumps(regions))
    np.testing.assert_array_equal(copy.read("a").features, regions.read("a").features)


def test_the_list_of_keys_can_be_missing(tmp_path: Path) -> None:
    regions = RegionLmdb(write_lmdb(tmp_path, {"b.npz": compressed(dump()), "a.npz": compressed(dump())}, listed=False))
    assert len(regions) == 2
    assert "a" in regions


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("nlvr2_dev-850-0-img1.npz", "dev-850-0-img1"),
        ("flickr30k_001000092795.npz", "1000092795"),
        ("coco_train2014_000000000009.npz", "COCO_train2014_000000000009"),
        ("flickr30k_000000000000.npz", "0"),
    ],
)
def test_an_image_is_found_by_its_files_name(tmp_path: Path, key: str, image: str) -> None:
    regions = RegionLmdb(write_lmdb(tmp_path, {key: compressed(dump(seed=3)), "other_1.npz": compressed(dump())}))
    assert image in regions
    np.testing.assert_array_equal(regions.read(image).features, dump(seed=3)["features"].astype(np.float32))


@pytest.mark.parametrize(("confident", "kept"), [(0, 10), (7, 10), (25, 25), (110, 100)])
def test_of_a_database_of_all_regions_the_confident_ones_are_read(tmp_path: Path, confident: int, kept: int) -> None:
    arrays = dump(count=120) | {"conf": np.array([0.9] * confident + [0.1] * (120 - confident), np.float16)}
    for name, expected in (("all_compressed", kept), ("feat_th0.2_max100_min10_compressed", 120)):
        regions = RegionLmdb(write_lmdb(tmp_path / name, {"a.npz": compressed(arrays)}))
        found = regions.read("a")
        assert len(found.features) == len(found.boxes) == expected
        np.testing.assert_array_equal(found.features, arrays["features"][:expected].astype(np.float32))


def test_the_parent_folder_works_if_it_holds_one_database(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "feat_th0.2", {"a.npz": compressed(dump())})
    assert RegionLmdb(tmp_path).path == tmp_path / "feat_th0.2"
    write_lmdb(tmp_path / "all", {"a.npz": compressed(dump())})
    with pytest.raises(InputError, match=r"several LMDBs, all, feat_th0\.2; name one of them"):
        RegionLmdb(tmp_path)
    with pytest.raises(InputError, match=r"no LMDB; the folder of its data\.mdb works"):
        RegionLmdb(tmp_path / "nowhere")


GOOD = dump()
BROKEN = [
    (compressed(GOOD)[:200], "of numbers, or damaged"),
    (compressed(GOOD)[:-30], "of numbers, or damaged"),
    (compressed(GOOD).replace(b"\x08\0\0\0!\0", b"\x63\0\0\0!\0"), "of numbers, or damaged"),
    (packed(GOOD)[:50], "cut off or damaged"),
    (b"", "cut off or damaged"),
    (packed([1, 2]), "cut off or damaged"),
    (packed({"features": 3, "norm_bb": None}), "has no features and no norm_bb"),
    (compressed({"features": GOOD["features"]}), "has no norm_bb"),
    (compressed(GOOD | {"norm_bb": GOOD["norm_bb"][:2]}), r"features of shape \(3, 4\) for boxes of shape \(2, 6\)"),
    (compressed(GOOD | {"features": GOOD["features"][0]}), r"features of shape \(4,\)"),
    (compressed({name: some[:0] for name, some in GOOD.items()}), r"features of shape \(0, 4\)"),
    (compressed(GOOD | {"features": GOOD["features"] * np.nan}), "not finite numbers"),
    (packed(GOOD | {"norm_bb": GOOD["norm_bb"] * np.float16(np.inf)}), "not finite numbers"),
    (compressed(GOOD | {"norm_bb": GOOD["norm_bb"] * 640}), "norm_bb has .* not shares of the image's sides"),
    (compressed(GOOD | {"norm_bb": GOOD["norm_bb"][:, :3]}), r"for boxes of shape \(3, 3\)"),
    (compressed(GOOD | {"features": np.full((3, 4), "much")}), "has no features"),
]


@pytest.mark.parametrize(("entry", "said"), BROKEN)
def test_damage_is_reported_in_one_line_with_the_image(tmp_path: Path, entry: bytes, said: str) -> None:
    regions = RegionLmdb(write_lmdb(tmp_path, {"good.npz": compressed(GOOD), "bad.npz": entry}))
    regions.read("good")
    with pytest.raises(InputError, match=said) as caught:
        regions.read("bad")
    assert str(caught.value).startswith(f"{tmp_path}: bad.npz: ")
    assert "\n" not in str(caught.value)


def test_a_database_that_was_cut_off_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = write_lmdb(tmp_path, {f"{n}.npz": compressed(dump(channels=64, seed=n)) for n in range(20)})
    content = (folder / "data.mdb").read_bytes()
    for length in range(0, len(content), 1500):
        (folder / "data.mdb").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut off, it should have [\d,]+ bytes|not an LMDB"):
            RegionLmdb(folder)


def test_a_list_of_keys_that_is_none_is_refused(tmp_path: Path) -> None:
    for listed in (b"{}", b"5", b"[1]", b"[" * 100_000, b"\xff"):
        folder = write_lmdb(tmp_path / str(len(listed)), {"a.npz": compressed(GOOD)})
        with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"__keys__", listed)
        with pytest.raises(InputError, match="__keys__"):
            RegionLmdb(folder)


@pytest.mark.slow
@pytest.mark.parametrize("form", [compressed, packed])
def test_a_damaged_entry_is_refused_or_read(tmp_path: Path, form: Any) -> None:
    random, refused = np.random.default_rng(18), 0
    regions = RegionLmdb(write_lmdb(tmp_path / "db", {"a.npz": form(GOOD)}))
    for number in range(400):
        entry = bytearray(form(GOOD))
        for position in random.integers(len(entry), size=random.integers(1, 9)):
            entry[position] = random.choice([0, 1, 0xC9, 0xDD, 0xDF, 0xFF, random.integers(256)])
        entry = entry if number % 10 else entry[: random.integers(len(entry))]
        with lmdb.open(str(tmp_path / "db"), sync=False) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"a.npz", bytes(entry))
        try:
            assert regions.read("a").boxes.shape[1] == 4
        except InputError:
            refused += 1
    assert 50 < refused < 400


class Trap:
    """Leaves a trace if it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("form", [compressed, packed])
def test_no_pickle_is_ever_opened(tmp_path: Path, form: Any) -> None:
    trace = tmp_path / "trace"
    objects = np.empty(1, dtype=object)
    objects[0] = Trap(trace)
    regions = RegionLmdb(write_lmdb(tmp_path / "db", {"a.npz": form(GOOD | {"features": objects})}))
    with pytest.raises(InputError, match=r"holds Python objects|has no features"):
        regions.read("a")
    assert not trace.exists()


def test_a_missing_image_is_refused(tmp_path: Path) -> None:
    folder = write_lmdb(tmp_path, {"coco_val2014_000000000001.npz": compressed(GOOD)})
    regions = RegionLmdb(folder)
    assert "x" not in regions
    with pytest.raises(InputError, match=r"no regions of x, but of images like coco_val2014_000000000001\.npz"):
        regions.read("x")
    write_lmdb(folder, {"coco_val2014_000000000001.npz": b"", "gone.npz": b""})
    with lmdb.open(str(folder)) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b"gone.npz")
    with pytest.raises(InputError, match=r"gone\.npz: listed, but missing"):
        RegionLmdb(folder).read("gone")


def test_folders_that_hold_no_database(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(InputError, match="not an LMDB of region features, or damaged") as caught:
        RegionLmdb(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="holds no image"):
        RegionLmdb(write_lmdb(tmp_path / "empty", {}))
    with pytest.raises(InputError, match="name the same image"):
        RegionLmdb(write_lmdb(tmp_path / "two", {"nlvr2_a.npz": b"", "a.npz": b""}))


@pytest.mark.parametrize("absent", ["lmdb", "msgpack"])
def test_a_missing_library_is_reported_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    folder = write_lmdb(tmp_path, {"a.npz": packed(GOOD)})
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == absent:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=rf"needs {absent}: pip install 'vlbench\[lmdb\]'"):
        RegionLmdb(folder).read("a")


def test_a_folder_is_an_lmdb_and_a_file_a_tsv(tmp_path: Path) -> None:
    assert isinstance(open_regions(write_lmdb(tmp_path / "db", {"a.npz": packed(GOOD)})), RegionLmdb)
    (tmp_path / "some.tsv").write_text("a" + "\t" * 9 + "\n")
    assert isinstance(open_regions(tmp_path / "some.tsv"), RegionTsv)
    with pytest.raises(InputError, match="no such file"):
        open_regions(tmp_path / "nowhere.tsv")

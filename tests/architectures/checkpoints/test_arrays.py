"""Pickled arrays are read; a pickle that would run code is refused by name, before it does."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from vlbench.architectures.checkpoints.pickles import read_arrays
from vlbench.errors import InputError


def pickled(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [False, True])
def test_arrays_come_back_as_tensors(tmp_path: Path, protocol: int, wrapped: bool) -> None:
    arrays = OrderedDict(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.array(7), c=np.ones(3, dtype=bool))
    content = {"model": arrays, "__author__": "someone", "iteration": np.int64(3)} if wrapped else arrays
    found = read_arrays(pickled(tmp_path / "w.pkl", content, protocol))
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        assert torch.equal(found[name], torch.from_numpy(values))
    found["a"].add_(1)  # writable, and its own


@pytest.mark.parametrize("protocol", [2, 5])
def test_numbers_of_the_other_byte_order_keep_their_values(tmp_path: Path, protocol: int) -> None:
    found = read_arrays(pickled(tmp_path / "w.pkl", {"a": np.array([1.5, -2.0], dtype=">f4")}, protocol))
    assert torch.equal(found["a"], torch.tensor([1.5, -2.0]))


def test_a_pickle_under_the_older_name_of_numpy_is_read(tmp_path: Path) -> None:
    path = pickled(tmp_path / "w.pkl", {"a": np.zeros(2, dtype=np.float32)})
    written = path.read_bytes()
    assert b"numpy._core.multiarray" in written
    path.write_bytes(written.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert torch.equal(read_arrays(path)["a"], torch.zeros(2))


class Harmful:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_would_run_code_is_refused_by_name_and_does_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = pickled(tmp_path / "w.pkl", {"model": {"a": Harmful(made)}})
    with pytest.raises(InputError, match=r"refused, its pickle asks for posix\.mkdir, which could run code"):
        read_arrays(path)
    assert not made.exists()


class DamagedType:
    """NumPy's own float32, which a damaged byte asks for in place of a copy, with flags of another type."""

    def __reduce__(self) -> tuple:
        return np.dtype, ("f4", False, False), (3, "<", None, None, None, -1, -1, 63)


def test_a_damaged_type_does_not_change_numpys_own(tmp_path: Path) -> None:
    flags = np.dtype("float32").flags
    with pytest.raises(InputError, match="'a' is no array of numbers"):
        read_arrays(pickled(tmp_path / "w.pkl", {"a": DamagedType()}))
    assert np.dtype("float32").flags == flags


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "damaged or cut off"),
        (b"no pickle at all", "damaged or cut off"),
        (pickle.dumps({"a": np.zeros(1000)})[:500], "damaged or cut off"),
        (pickle.dumps([1, 2]), "holds no arrays by name"),
        (pickle.dumps({}), "holds no arrays by name"),
        (pickle.dumps({"a": np.zeros(2), "b": "text"}), "'b' is no array of numbers"),
        (pickle.dumps({"a": np.array([None])}), "'a' is no array of numbers"),
        (pickle.dumps({3: np.zeros(2)}), "'3' is no array of numbers"),
    ],
)
def test_what_holds_no_arrays_is_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "w.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_arrays(path)
    assert str(error.value).startswith(f"weights {path}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_arrays(tmp_path / "none.pkl")

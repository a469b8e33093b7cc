"""Checkpoints in every form are read alike, and none of them runs code."""

from __future__ import annotations

import json
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from vlbench.architectures.checkpoints.reading import read_layout, read_metadata, read_state
from vlbench.errors import InputError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}

RUNS_CODE = "refused, its pickle asks for posix.system, which could run code"


class RunsCode:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def assert_tensors(found: dict[str, Tensor]) -> None:
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], TENSORS[name]) and found[name].dtype == TENSORS[name].dtype for name in found)


@pytest.mark.parametrize("name", ["m.bin", "m.pt", "m.pth", "m.ckpt"])
@pytest.mark.parametrize("wrapped", [(), ("state_dict",), ("model",), ("model", "state_dict")])
def test_files_of_pytorch_are_read_however_they_are_wrapped(tmp_path: Path, name: str, wrapped: tuple) -> None:
    content: dict = TENSORS
    for wrapper in reversed(wrapped):
        content = {wrapper: content, "epoch": 3}
    torch.save(content, tmp_path / name)
    assert_tensors(read_state(str(tmp_path / name)))


def test_what_lightning_keeps_beside_the_tensors_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its older versions have classes of theirs for keys; they are neither imported nor called."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": module.__name__})
    parsing = types.ModuleType("pytorch_lightning.utilities.parsing")
    parsing.AttributeDict = type("AttributeDict", (dict,), {"__module__": parsing.__name__})
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.utilities"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        for one in (module, parsing):
            patch.setitem(sys.modules, one.__name__, one)
        content = {"state_dict": TENSORS, "callbacks": {module.ModelCheckpoint: {"best": 3.0}}}
        torch.save(content | {"hyper_parameters": parsing.AttributeDict(config={"seed": 0})}, tmp_path / "m.ckpt")
    assert_tensors(read_state(str(tmp_path / "m.ckpt")))
    assert module.__name__ not in sys.modules


def test_an_old_file_of_pytorch_is_read(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    assert_tensors(read_state(str(tmp_path / "m.pt")))


def test_safetensors_are_read_with_what_they_say_of_themselves(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "m.safetensors", metadata={"format": "pt"})
    assert_tensors(read_state(str(tmp_path / "m.safetensors")))
    assert read_metadata(str(tmp_path / "m.safetensors")) == {"format": "pt"}
    torch.save(TENSORS, tmp_path / "m.pt")
    assert read_metadata(str(tmp_path / "m.pt")) == {}


def sharded(folder: Path) -> Path:
    names = {name: f"model-{place}.safetensors" for place, name in enumerate(TENSORS)}
    for name, file in names.items():
        save_file({name: TENSORS[name]}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


def test_a_folder_gives_safetensors_before_others_and_shards_together(tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert set(read_state(str(tmp_path))) == {"other"}
    sharded(tmp_path)
    assert_tensors(read_state(str(tmp_path)))
    save_file({"whole": torch.zeros(1)}, tmp_path / "model.safetensors")
    assert set(read_state(str(tmp_path))) == {"whole"}


def bad(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be read, with what is said of each."""
    torch.save(TENSORS, folder / "good.pt")
    torch.save(TENSORS, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(TENSORS, folder / "good.safetensors")
    (folder / "cut.pt").write_bytes((folder / "good.pt").read_bytes()[:400])
    (folder / "cut_old.pt").write_bytes((folder / "old.pt").read_bytes()[:-9])
    (folder / "cut.safetensors").write_bytes((folder / "good.safetensors").read_bytes()[:-5])
    (folder / "header.safetensors").write_bytes(b"\xff" * 64)
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.ckpt").write_text("hello")
    (folder / "weights.npz").write_bytes(b"PK")
    torch.save([1, 2], folder / "list.pt")
    torch.save({"a": torch.ones(1), "b": 3}, folder / "number.pt")
    (folder / "nothing").mkdir()
    (folder / "shards").mkdir()
    sharded(folder / "shards")
    (folder / "shards" / "model-1.safetensors").unlink()
    (folder / "index").mkdir()
    (folder / "index" / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    torch.save({"a": RunsCode(folder / "ran")}, folder / "evil.pt")
    with (folder / "evil.bin").open("wb") as file:
        pickle.dump({"a": RunsCode(folder / "ran")}, file)
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), folder / "program.pt")
    return {
        "absent.pt": (folder / "absent.pt", "no such file or folder; hub:OWNER/NAME names one"),
        "cut.pt": (folder / "cut.pt", "damaged or cut off; fetch it again"),
        "cut_old.pt": (folder / "cut_old.pt", "damaged or cut off; fetch it again"),
        "cut.safetensors": (folder / "cut.safetensors", "damaged or cut off ("),
        "header.safetensors": (folder / "header.safetensors", "damaged or cut off ("),
        "empty.safetensors": (folder / "empty.safetensors", "damaged or cut off ("),
        "empty.pt": (folder / "empty.pt", "damaged or cut off; fetch it again"),
        "text.ckpt": (folder / "text.ckpt", "damaged"),
        "npz": (folder / "weights.npz", "neither .safetensors, .bin, .pt, .pth, .ckpt"),
        "list": (folder / "list.pt", "holds no tensors by name"),
        "number": (folder / "number.pt", "'b' is no tensor; a state_dict is wanted"),
        "empty folder": (folder / "nothing", "the folder holds no model.safetensors or"),
        "missing shard": (folder / "shards", "the shard model-1.safetensors is missing"),
        "broken index": (folder / "index", "not an index of shards"),
        "code": (folder / "evil.pt", RUNS_CODE),
        "code in a bare pickle": (folder / "evil.bin", RUNS_CODE),
        "TorchScript": (folder / "program.pt", "refused, a TorchScript archive is a program"),
    }


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_what_cannot_be_read_is_told_in_one_line_and_runs_nothing(tmp_path: Path) -> None:
    for name, (path, says) in bad(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_state(str(path))
        message = str(caught.value)
        assert says in message, name
        assert str(path) in message, name
        assert "\n" not in message, name
    assert not (tmp_path / "ran").exists()


def layout(tensors: dict[str, Tensor]) -> dict[str, tuple]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def test_the_layout_of_a_file_is_that_of_its_tensors_and_reads_no_value_of_new_files(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS}, tmp_path / "new.pt")
    torch.save(TENSORS, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(TENSORS, tmp_path / "m.safetensors")
    (tmp_path / "shards").mkdir()
    sharded(tmp_path / "shards")
    for name in ("new.pt", "old.pt", "m.safetensors", "shards"):
        assert layout(read_layout(str(tmp_path / name))) == layout(TENSORS)
    assert all(tensor.is_meta for tensor in read_layout(str(tmp_path / "new.pt")).values())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_layout_is_refused_like_its_tensors(tmp_path: Path) -> None:
    for name, (path, says) in bad(tmp_path).items():
        with pytest.raises(InputError) as caught:
            read_layout(str(path))
        assert says in str(caught.value), name
    assert not (tmp_path / "ran").exists()

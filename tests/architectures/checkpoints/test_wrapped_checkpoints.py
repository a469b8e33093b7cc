"""Checkpoints under the prefixes and wrappers of trainers are read; what is no checkpoint is named for what it is."""

from __future__ import annotations

import argparse
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_examples import loaded, small
from safetensors.torch import save_file
from torch import Tensor

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import EXTRA_STATE, SPEC, save_model
from vlbench.architectures.checkpoints.reading import read_layout, read_state
from vlbench.architectures.checkpoints.rules import refuse_values
from vlbench.errors import InputError

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def assert_same(state: dict[str, Tensor]) -> None:
    assert set(state) == set(TENSORS)
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in state.items())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "model.module.", "ema."])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_prefix_of_all_names_is_left_out(tmp_path: Path, prefix: str, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    prefixed = {prefix + name: tensor for name, tensor in TENSORS.items()}
    save_file(prefixed, path) if suffix == ".safetensors" else torch.save(prefixed, path)
    assert_same(read_state(str(path)))
    assert set(read_layout(str(path))) == set(TENSORS)


def test_a_prefix_of_some_names_belongs_to_them(tmp_path: Path) -> None:
    mixed = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(mixed, tmp_path / "m.pt")
    assert set(read_state(str(tmp_path / "m.pt"))) == set(mixed)


@pytest.mark.parametrize("beside", ["criterion.weight", "loss_fn.bce.pos_weight", "n_averaged"])
@pytest.mark.parametrize("outer", ["", "module.", "module._orig_mod."])
def test_a_loss_beside_the_model_is_left_out(tmp_path: Path, beside: str, outer: str) -> None:
    lightning = {f"{outer}model.{name}": tensor for name, tensor in TENSORS.items()}
    lightning[f"{outer}{beside}"] = torch.ones(1)
    torch.save({"state_dict": lightning}, tmp_path / "m.pt")
    assert_same(read_state(str(tmp_path / "m.pt")))


def test_a_model_beside_its_average_is_named(tmp_path: Path) -> None:
    spec = small("vilt-b32")
    state = build(spec).state_dict()
    twice = {f"{of}.{name}": tensor for of in ("model", "ema") for name, tensor in state.items()}
    torch.save(twice, tmp_path / "m.pt")
    with pytest.raises(InputError, match=r"only some of its names begin with ema\. or model\.; the names of one model"):
        build(spec.model_copy(update={"weights": str(tmp_path / "m.pt")}))


def test_pytorchs_averaged_model_is_read_without_its_count(tmp_path: Path) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(3, 2))
    torch.save(averaged.state_dict(), tmp_path / "m.pt")
    assert set(read_state(str(tmp_path / "m.pt"))) == {"weight", "bias"}


@pytest.mark.parametrize("key", ["net", "module", "model_ema", "state_dict_ema", "ema", "model"])
def test_tensors_below_a_trainers_key_are_read(tmp_path: Path, key: str) -> None:
    torch.save({key: TENSORS, "epoch": 3, "arch": "x"}, tmp_path / "m.pt")
    assert_same(read_state(str(tmp_path / "m.pt")))


def test_weights_come_before_their_average(tmp_path: Path) -> None:
    average = {name: tensor * 0 for name, tensor in TENSORS.items()}
    torch.save({"state_dict_ema": average, "model": "vit", "state_dict": TENSORS}, tmp_path / "m.pt")
    assert_same(read_state(str(tmp_path / "m.pt")))


BESIDE = {
    "a numpy scalar": np.float64(0.7),
    "a numpy array": np.zeros(3),
    "a numpy type": np.dtype("int32"),
    "options": argparse.Namespace(lr=1.0, path=Path("a")),
    "a path": Path("a") / "b",
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
@pytest.mark.parametrize("new", [True, False])
def test_what_trainers_keep_next_to_the_tensors_is_passed_over(tmp_path: Path, beside: Any, new: bool) -> None:
    content = {"args": beside, "state_dict": TENSORS, "best": [beside]}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=new)
    assert_same(read_state(str(tmp_path / "m.pt")))


def test_the_first_names_of_layer_norm_are_read(tmp_path: Path) -> None:
    """TensorFlow's gamma and beta; the gamma of a layer's scale stays."""
    names = ("LayerNorm.gamma", "LayerNorm.beta", "scale.gamma")
    torch.save({name: torch.ones(2) for name in names}, tmp_path / "m.pt")
    assert set(read_state(str(tmp_path / "m.pt"))) == {"LayerNorm.weight", "LayerNorm.bias", "scale.gamma"}


STAND_INS = {
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n",
        "git-lfs pointer, .*git lfs pull",
    ),
    "a page": (b"\n<!DOCTYPE html><html>404</html>", "a web page, not the weights"),
    "an answer": (b'{"error":"Repository not found"}', "an error of a server"),
}


@pytest.mark.parametrize(("content", "message"), STAND_INS.values(), ids=STAND_INS)
@pytest.mark.parametrize("suffix", [".safetensors", ".bin", ".pkl"])
def test_what_stands_in_for_weights_is_named(tmp_path: Path, content: bytes, message: str, suffix: str) -> None:
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_state(str(path))


def test_a_header_that_begins_like_a_page_is_read(tmp_path: Path) -> None:
    """The length of a safetensors header, its first byte, can be the sign <."""
    path = tmp_path / "m.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(ord("<"))
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert path.read_bytes()[:1] == b"<"
    assert set(read_state(str(path))) == {"a"}


@pytest.mark.parametrize(
    "content",
    [
        {"weight_map": {"a": 5}},
        {"weight_map": None},
        {"weight_map": {}},
        {"weight_map": {"a": "../m.safetensors"}},
        {"weight_map": {"a": "/etc/passwd"}},
        {"weight_map": {"a": "."}},
        {"weight_map": {"a": "model.safetensors.index.json"}},
        {"weight_map": {"a": "a\0b.safetensors"}},
        {"weight_map": {"a": ["m.safetensors"]}},
        [1],
        5,
    ],
)
def test_an_index_lists_files_next_to_it(tmp_path: Path, content: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="not an index of shards, a weight_map of tensors' names to files"):
        read_state(str(tmp_path))


def self_referring(inner: Any = None) -> dict:
    content: dict = {} if inner is None else inner
    content["model"] = content
    return content


WRONG = {
    "a dictionary within itself": (self_referring(), "'model' is no "),
    "a pair within each other": ({"state_dict": self_referring({"net": {"a": 1}})}, "is no "),
    "nothing": ({"state_dict": {"model": 5}}, "'model' is no "),
    "names that are no text": ({("a",): TENSORS["a.bias"]}, "'tuple' is no "),
    "a long number for a name": ({2**70: TENSORS["a.bias"]}, "'int' is no "),
    "sparse tensors": ({"a": torch.eye(3).to_sparse()}, "'a' is no tensor"),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_what_holds_no_tensors_by_name_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "m.pt")
    with pytest.raises(InputError, match=message):
        read_state(str(tmp_path / "m.pt"))


def test_an_array_that_declares_more_than_the_file_holds_takes_no_memory(tmp_path: Path) -> None:
    shape = (2**33,)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"a": Huge(shape)}))
    torch.save({"a": torch.zeros(1).expand(shape)}, tmp_path / "m.pt")
    for name in ("m.pkl", "m.pt"):
        with pytest.raises(
            InputError, match=r"'a' declares \d\d,\d{3},\d{3},\d{3} bytes, more than the file|is no array"
        ):
            read_state(str(tmp_path / name))


class Huge:
    """An array of this shape, without its values."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __reduce__(self) -> tuple:
        return np.ndarray, (self.shape, np.dtype("float32"))


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_quantised_checkpoints_are_named(tmp_path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    for index, state in enumerate(({"a.weight": quantised}, {**TENSORS, "a.SCB": torch.ones(2)})):
        torch.save(state, tmp_path / f"{index}.pt")
        with pytest.raises(InputError, match=r"quantised, as a\.\w+ shows; the checkpoint in float32 works"):
            read_state(str(tmp_path / f"{index}.pt"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.ones(2, dtype=torch.int8), "w is int8, no float of 16 bits or more; a quantised checkpoint?"),
        (torch.ones(2, dtype=torch.bool), "w is bool"),
        (torch.ones(2, dtype=torch.complex64), "w is complex64"),
        (torch.ones(2).to(torch.float8_e4m3fn), "w is float8_e4m3fn"),
        (torch.tensor([1, float("nan")]), "w holds NaN or infinity"),
        (torch.tensor([1, float("-inf")]).half(), "w holds NaN or infinity"),
    ],
)
def test_values_that_no_model_computes_with_are_refused(values: Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        refuse_values("ViLT", "it", {"v": torch.ones(1), "w": values})
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_float_is_read(dtype: torch.dtype) -> None:
    refuse_values("ViLT", "it", {"w": torch.ones(2, dtype=dtype)})


def test_a_model_of_vlbench_with_other_types_is_refused_too(tmp_path: Path) -> None:
    spec = small("vilt-b32", "answers")
    model = build(spec)
    model.head.norm.bias = torch.nn.Parameter(torch.zeros_like(model.head.norm.bias).byte(), requires_grad=False)
    save_model(tmp_path / "m.safetensors", model, spec)
    with pytest.raises(InputError, match=r"saved from vilt-b32-tiny, but head\.norm\.bias is uint8, no float"):
        loaded(spec, str(tmp_path / "m.safetensors"))


def test_a_name_with_control_characters_is_echoed_without_them(tmp_path: Path) -> None:
    for path in (tmp_path / "m.pt", tmp_path / "m.safetensors"):
        state = {"a\x1b[31m\nb": torch.ones(1)}
        torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
        with pytest.raises(InputError) as caught:
            read_state(str(path))
        assert str(caught.value) == rf"weights {path}: 'a\x1b[31m\nb' is no name of a tensor; damaged, fetch it again"


def test_a_flag_that_no_visual_part_has_is_refused(tmp_path: Path) -> None:
    """Files of later versions can have other flags, each of which changes what the model computes."""
    spec, path = small("vilt-b32", "answers"), tmp_path / "m.safetensors"
    state = {name: tensor.clone().contiguous() for name, tensor in build(spec).state_dict().items()}
    save_file(state, path, metadata={SPEC: spec.model_dump_json(), EXTRA_STATE: "pooled_otherwise"})
    with pytest.raises(InputError, match="'pooled_otherwise' is no flag of this version's visual part"):
        loaded(spec, str(path))

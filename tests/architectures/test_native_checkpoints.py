"""What vlbench saves it loads again, and it tells what the file was saved from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_examples import changed
from safetensors.torch import load_file, save_file

from vlbench.architectures.checkpoints.native import SPEC, save_model, saved_spec
from vlbench.architectures.model import build
from vlbench.catalog import catalog
from vlbench.errors import InputError
from vlbench.specs import ModelSpec

NAMES = ("vilt-b32", "uniter-base", "pixelbert-r50", "clip-vit-b32", "lxmert", "vit-b16")


def other_seed(name: str) -> ModelSpec:
    return catalog()[name].tiny().model_copy(update={"seed": 5})


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_comes_back_detector_and_all(tmp_path: Path, name: str) -> None:
    spec = other_seed(name)
    model = build(spec)
    save_model(tmp_path / "new" / "m.safetensors", model, spec)
    again = build(catalog()[name].tiny().model_copy(update={"weights": str(tmp_path / "new" / "m.safetensors")}))
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in again.state_dict().items())
    assert saved_spec(str(tmp_path / "new" / "m.safetensors")) == spec


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("native") / "m.safetensors"
    spec = catalog()["vilt-b32"].tiny().for_task("answers", 13)
    save_model(path, build(spec), spec)
    return str(path)


ANSWERS = catalog()["vilt-b32"].tiny().for_task("answers", 13)
REFUSED = {
    "another head": (catalog()["vilt-b32"].tiny(), "whose head.kind is vqa; here it is itm"),
    "other answers": (ANSWERS.for_task("answers", 9), "whose head.answers is 13; here it is 9"),
    "another model": (catalog()["uniter-base"].tiny(), "saved from vilt-b32-tiny, whose "),
    "other heads of attention, which no tensor tells": (
        changed(ANSWERS, {"interaction.heads": 8}),
        "saved from vilt-b32-tiny, whose interaction.heads is 4; here it is 8",
    ),
}


@pytest.mark.parametrize(("spec", "says"), REFUSED.values(), ids=REFUSED)
def test_other_parts_are_told(saved: str, spec: ModelSpec, says: str) -> None:
    with pytest.raises(InputError) as caught:
        build(spec.model_copy(update={"weights": saved}))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dropout_may_differ(saved: str) -> None:
    build(changed(ANSWERS, {"text.dropout": 0.5, "weights": saved}))


def test_a_file_without_a_tensor_is_told(saved: str, tmp_path: Path) -> None:
    tensors = load_file(saved)
    del tensors["head.norm.bias"]
    path = tmp_path / "m.safetensors"
    save_file(tensors, path, metadata={SPEC: ANSWERS.model_dump_json()})
    with pytest.raises(InputError, match=r"saved from vilt-b32-tiny, but it has nothing for head\.norm\.bias"):
        build(ANSWERS.model_copy(update={"weights": str(path)}))
    save_file(tensors, path, metadata={SPEC: '{"name": "x"}'})
    with pytest.raises(InputError, match="its spec is none of this version"):
        saved_spec(str(path))


def test_on_the_meta_device_no_file_is_read() -> None:
    with torch.device("meta"):
        build(ANSWERS.model_copy(update={"weights": "/absent.pt"}))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_model(tmp_path / "file" / "m.safetensors", torch.nn.Linear(1, 1), ANSWERS)

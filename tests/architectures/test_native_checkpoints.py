"""What vlbench saves it loads again, and it tells what the file was saved from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from checkpoint_examples import changed
from examples import images_of
from safetensors.torch import load_file, save_file

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.native import SPEC, save_model, saved_spec
from vlbench.architectures.region import CAFFE_POOLING, TRAINED
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs import ModelSpec, ResNetSpec
from vlbench.specs.catalog import catalog

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
def checkpoint_file(tmp_path_factory: pytest.TempPathFactory) -> str:
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
def test_other_parts_are_told(checkpoint_file: str, spec: ModelSpec, says: str) -> None:
    with pytest.raises(InputError) as caught:
        build(spec.model_copy(update={"weights": checkpoint_file}))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dropout_may_differ(checkpoint_file: str) -> None:
    build(changed(ANSWERS, {"text.dropout": 0.5, "weights": checkpoint_file}))


def test_a_file_without_a_tensor_is_told(checkpoint_file: str, tmp_path: Path) -> None:
    tensors = load_file(checkpoint_file)
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


NARROW = changed(
    catalog()["visualbert"].tiny(),
    {
        "visual.backbone": ResNetSpec(blocks=(1, 1, 1), base_width=16, norm="trained"),
        "visual.rpn.anchor_sizes": (20, 40, 64, 128),
    },
)


def with_a_detector_that_finds(spec: ModelSpec) -> VLModel:
    """A model whose detector has seen something, norms and all, and is taken at its word."""
    model, generator = build(spec), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, values in model.visual.state_dict().items():
            if name.endswith(("running_mean", "objectness.bias", "deltas.weight", "classifier.weight")):
                values.normal_(0, 0.3, generator=generator)
    model.visual.trust_weights()
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("key", ["weights", "visual.weights"])
def test_a_trained_detector_finds_the_same_boxes_again(tmp_path: Path, key: str) -> None:
    images, path = images_of((128, 128), (96, 128)), tmp_path / "m.safetensors"
    model = with_a_detector_that_finds(NARROW)
    save_model(path, model, NARROW)
    again = build(changed(NARROW, {key: str(path), "seed": 9})).eval()
    before, after = model.visual.regions(images), again.visual.regions(images)
    for name in ("boxes", "features", "confidence"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert not again.visual.rpn.inject_load
    assert again.declared_load(images) == {"regions": 1}
    fixed = build(NARROW).eval().visual.regions(images)
    assert not torch.equal(fixed.boxes, before.boxes)
    rest = ("text", "interaction", "head", "visual.projection")
    same = {name: torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items()}
    assert all(held for name, held in same.items() if not name.startswith(rest))
    assert all(held for name, held in same.items() if name.startswith(rest)) == (key == "weights")


def test_one_that_is_not_trained_goes_on_to_hand_on_the_declared_boxes(tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", build(NARROW), NARROW)
    for key in ("weights", "visual.weights"):
        assert build(changed(NARROW, {key: str(tmp_path / "m.safetensors")})).visual.rpn.inject_load


def test_pooling_as_caffe_comes_back_too(tmp_path: Path) -> None:
    model = build(NARROW)
    model.visual.load_extra_state((TRAINED, CAFFE_POOLING))
    save_model(tmp_path / "m.safetensors", model, NARROW)
    again = build(changed(NARROW, {"weights": str(tmp_path / "m.safetensors")}))
    assert again.visual.extra_state() == (TRAINED, CAFFE_POOLING)


def test_a_detector_serves_models_that_differ_behind_it_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "m.safetensors")
    save_model(Path(path), with_a_detector_that_finds(NARROW), NARROW)
    build(changed(NARROW, {"interaction.layers": 1, "visual.projection.geometry": 4, "visual.weights": path}))
    with pytest.raises(InputError, match=r"whose visual\.rpn\.nms_iou is 0\.7; here it is 0\.5"):
        build(changed(NARROW, {"visual.rpn.nms_iou": 0.5, "visual.weights": path}))
    with pytest.raises(InputError, match=r"whose visual\.kind is region; here it is patch"):
        build(changed(ANSWERS, {"visual.weights": path}))


def test_a_patch_projection_comes_back_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = build(ANSWERS)
    save_model(path, model, ANSWERS)
    again = build(changed(ANSWERS, {"visual.weights": str(path), "seed": 9}))
    same = {name: torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items()}
    assert all(held for name, held in same.items() if name.startswith("visual."))
    assert not all(held for name, held in same.items() if name.startswith("interaction."))

"""The released detector of bottom-up attention: every name used, its pixels and its pooling brought along."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.bottom_up import BOTTOM_UP_FAMILIES, MEAN_BGR, fill_bottom_up, load_detector
from vlbench.architectures.checkpoints.detectron2_names import C4_NAMES, COUNTER, Renaming
from vlbench.architectures.checkpoints.pickles import read_arrays
from vlbench.architectures.checkpoints.rules import mapped
from vlbench.architectures.interfaces import Images
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs.catalog import catalog
from vlbench.specs.model import Input, ModelSpec

SOURCE = "detector.pkl"
STEPS = ("backbone.", "rpn.", "roi_head.")
AS_TRAINED = Input(
    image_size=(128, 192), mean=tuple(value / 255 for value in reversed(MEAN_BGR)), std=(1 / 255, 1 / 255, 1 / 255)
)
IMAGENET = Input(image_size=(128, 192), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def spec() -> ModelSpec:
    return catalog()["uniter-base"].tiny()


def released(model: VLModel, seed: int = 5) -> dict[str, Tensor]:
    """Random tensors under the released names, with the attribute head that comes with them."""
    generator = torch.Generator().manual_seed(seed)
    renamed = Renaming(C4_NAMES)
    state = {
        renamed(name): 0.05 * torch.randn(values.shape, generator=generator)
        for name, values in model.visual.state_dict().items()
        if name.startswith(STEPS) and not name.endswith(COUNTER)
    }
    for name, values in state.items():
        if name.endswith(("norm.weight", "norm.running_var")):
            values.abs_().add_(0.5)
    predictor = "roi_heads.box_predictor"
    return state | {
        f"{predictor}.cls_embedding.weight": torch.zeros(10, 256),
        f"{predictor}.fc_attr.weight": torch.zeros(512, 2304),
        f"{predictor}.fc_attr.bias": torch.zeros(512),
        f"{predictor}.attr_score.weight": torch.zeros(401, 512),
        f"{predictor}.attr_score.bias": torch.zeros(401),
    }


def stem_by_hand(state: dict[str, Tensor], values_HW3: Tensor) -> Tensor:
    """Caffe's stem on blue, green and red from 0 to 255 less their means, (1, 64, H / 4, W / 4)."""
    pixels = (255 * values_HW3.flip(2) - torch.tensor(MEAN_BGR)).permute(2, 0, 1)[None]
    features = F.conv2d(pixels, state["backbone.stem.conv1.weight"], stride=2, padding=3)
    kinds = ("running_mean", "running_var", "weight", "bias")
    features = F.batch_norm(features, *(state[f"backbone.stem.conv1.norm.{kind}"] for kind in kinds))
    return F.max_pool2d(F.relu(features), kernel_size=3, stride=2, ceil_mode=True)


def normalised(values_HW3: Tensor, pixels: Input) -> Tensor:
    return ((values_HW3 - torch.tensor(pixels.mean)) / torch.tensor(pixels.std)).permute(2, 0, 1)[None]


def test_what_it_does_not_know_it_leaves_to_others() -> None:
    model = build(spec())
    before = model.visual.backbone.stem[0].weight.clone()
    assert fill_bottom_up(model, {"conv1.weight": torch.zeros(64, 3, 7, 7)}, SOURCE, pixels=IMAGENET) is None
    assert torch.equal(model.visual.backbone.stem[0].weight, before)
    title = fill_bottom_up(model, released(model), SOURCE, pixels=IMAGENET)
    assert title == BOTTOM_UP_FAMILIES[0].title
    assert not torch.equal(model.visual.backbone.stem[0].weight, before)


@torch.no_grad()
@pytest.mark.parametrize(("pixels", "border"), [(AS_TRAINED, 0), (IMAGENET, 3)])
@pytest.mark.parametrize("size", [(64, 96), (63, 95)])
def test_the_stem_sees_what_the_detector_was_trained_on(pixels: Input, border: int, size: tuple[int, int]) -> None:
    model, values = build(spec()).eval(), torch.rand(*size, 3, generator=torch.Generator().manual_seed(0))
    state = released(model)
    load_detector(model, state, source=SOURCE, pixels=pixels)
    found, expected = model.visual.backbone.stem(normalised(values, pixels)), stem_by_hand(state, values)
    assert found.shape == expected.shape
    height, width = found.shape[-2:]
    inner = (..., slice(border, height - border), slice(border, width - border))
    torch.testing.assert_close(found[inner], expected[inner], atol=1e-3, rtol=1e-4)
    assert expected.abs().max() > 10
    torch.testing.assert_close(found, expected, atol=2.0, rtol=0.0)  # at the border the means differ by a level


@pytest.mark.parametrize("counter", [False, True])
def test_all_of_the_detector_is_filled_and_nothing_else(counter: bool) -> None:
    model = build(spec()).eval()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = released(model)
    extra = {"pixel_mean": torch.tensor(MEAN_BGR)[:, None, None], "pixel_std": torch.ones(3, 1, 1)}
    extra |= {"backbone.stem.conv1.norm.num_batches_tracked": torch.tensor(7)} if counter else {}
    load_detector(model, state | extra, source=SOURCE, pixels=IMAGENET)
    after = model.state_dict()
    renamed = Renaming(C4_NAMES)
    for name, values in after.items():
        inner = name.removeprefix("visual.")
        if name.endswith(COUNTER):
            continue
        if not inner.startswith(STEPS):
            assert torch.equal(values, before[name]), name
        elif inner not in ("backbone.stem.0.weight", "backbone.stem.1.running_mean"):
            assert torch.equal(values, state[renamed(inner)]), name


def test_the_detector_hands_on_its_own_proposals_from_then_on() -> None:
    model = build(spec()).eval()
    images = Images(pixels=torch.randn(1, 3, 128, 192), sizes=((128, 192),))
    load_detector(model, released(model), source=SOURCE, pixels=IMAGENET)
    assert not model.visual.rpn.inject_load
    with torch.inference_mode():
        assert torch.isfinite(model.visual(images).values).all()
    assert model.declared_load(images) == {"regions": 1}
    assert 1 <= model.load["regions"] <= 5


def test_norms_of_a_scale_and_a_shift_alone_are_read_as_detectron2_reads_them() -> None:
    model = build(spec()).eval()
    state = {name: values for name, values in released(model).items() if "running" not in name}
    load_detector(model, state, source=SOURCE, pixels=AS_TRAINED)
    norm = model.visual.roi_head.res5[0].bn1
    assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
    assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("backbone.res4.22.conv3.weight", (1024, 256, 1, 1)),
        ("proposal_generator.rpn_head.conv.weight", (512, 1024, 3, 3)),
        ("proposal_generator.rpn_head.objectness_logits.weight", (12, 512, 1, 1)),
        ("proposal_generator.rpn_head.anchor_deltas.bias", (48,)),
        ("roi_heads.res5.2.conv2.weight", (512, 512, 3, 3)),
        ("roi_heads.box_predictor.cls_score.weight", (1601, 2048)),
        ("roi_heads.box_predictor.bbox_pred.weight", (6400, 2048)),
    ],
)
def test_at_full_size_the_shapes_are_those_of_the_released_configuration(name: str, shape: tuple[int, ...]) -> None:
    """py-bottom-up-attention: R101-C4, RPN of 512 channels with 12 anchors, 1,600 classes."""
    with torch.device("meta"):
        model = build(catalog()["uniter-base"])
        wanted = {f"visual.{key}": values for key, values in model.visual.state_dict().items()}
    wanted = {key: values for key, values in wanted.items() if "projection" not in key and COUNTER not in key}
    back = Renaming([(theirs, ours) for ours, theirs in C4_NAMES])
    assert tuple(wanted[f"visual.{back(name)}"].shape) == shape
    renamed = Renaming(C4_NAMES)
    state = {renamed(key.removeprefix("visual.")): values for key, values in wanted.items()}
    assert mapped(BOTTOM_UP_FAMILIES[0], state, wanted, source=SOURCE).keys() == wanted.keys()


def wrong(change: str) -> tuple[str, dict[str, Tensor]]:
    """A model of the catalogue and a checkpoint that do not fit."""
    state = released(build(spec()))
    if change == "missing":
        del state["roi_heads.res5.0.conv2.weight"]
    elif change == "unknown":
        state["roi_heads.mask_head.deconv.weight"] = torch.zeros(1)
    elif change == "shape":
        name = "roi_heads.box_predictor.cls_score.weight"
        state[name] = state[name][:-1]
    elif change == "other":
        state = {"vilt.embeddings.cls_token": torch.zeros(1)}
    return {"patches": "vilt-b32", "grid": "xlxmert"}.get(change, "uniter-base"), state


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("missing", "visual.roi_head.res5.0.conv2.weight"),
        ("unknown", "roi_heads.mask_head.deconv.weight"),
        ("shape", "visual.roi_head.classifier.weight is 9x2048 there and 10x2048 here"),
        ("other", "not the detector of bottom-up attention"),
        ("patches", "this model has none"),
        ("grid", "this model has none"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_the_model_alone(change: str, told: str) -> None:
    name, state = wrong(change)
    model = build(catalog()[name].tiny())
    before = {key: values.clone() for key, values in model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_detector(model, state, source=SOURCE, pixels=IMAGENET)
    assert str(error.value).startswith(f"weights {SOURCE}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())


def test_both_engines_read_it_alike() -> None:
    pytest.importorskip("detectron2.modeling", reason="Detectron2 is not installed")
    images = Images(
        pixels=torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 126, 190), dtype=np.float32)),
        sizes=((126, 190),),
    )
    state, tokens, counts = released(build(spec())), [], []
    for engine in ("torchvision", "detectron2"):
        model = build(spec().with_engine(engine)).eval()
        load_detector(model, state, source=SOURCE, pixels=IMAGENET)
        with torch.inference_mode():
            tokens.append(model.visual(images).values)
        counts.append(model.load["proposals"])
    assert counts[0] == counts[1] > 0
    torch.testing.assert_close(tokens[0], tokens[1], atol=1e-4, rtol=0)


def test_a_saved_file_is_read_back(tmp_path: Path) -> None:
    model = build(spec()).eval()
    state = released(model)
    path = tmp_path / "faster_rcnn_from_caffe_attr.pkl"
    content = {"model": {name: values.numpy() for name, values in state.items()}, "__author__": "someone"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    found = read_arrays(path)
    assert found.keys() == state.keys()
    load_detector(model, found, source=str(path), pixels=IMAGENET)
    assert torch.equal(model.visual.rpn.conv.weight, state["proposal_generator.rpn_head.conv.weight"])

"""What a region embedder hands on before its projection, and a detector that is frozen."""

from __future__ import annotations

import pytest
import torch
from examples import images_of
from torch import nn
from weights import randomise

from vlbench.architectures.build import build
from vlbench.architectures.region import CAFFE_POOLING, DETECTOR, TRAINED, RegionEmbedder
from vlbench.specs.catalog import catalog

SIZES = ((128, 192), (96, 128))
GIVEN = [torch.tensor([[10.0, 10, 40, 50], [60, 20, 120, 90], [0, 0, 128, 96]]), torch.tensor([[5.0, 5, 90, 60]])]


def embedder(name: str = "uniter-base") -> RegionEmbedder:
    return build(catalog()[name].tiny()).visual.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["uniter-base", "visualbert", "xlxmert"])
def test_regions_kept_for_later_give_the_same_tokens(name: str) -> None:
    visual, images = embedder(name), images_of(*SIZES)
    tokens = visual(images)
    again = visual(visual.regions(images).precomputed(images.sizes))
    torch.testing.assert_close(again.values, tokens.values, atol=0, rtol=0)
    assert (again.mask is None) == (tokens.mask is None)


@torch.no_grad()
@pytest.mark.parametrize("name", ["uniter-base", "visualbert"])
def test_given_boxes_are_the_regions_one_by_one(name: str) -> None:
    visual, images = embedder(name), images_of(*SIZES)
    regions = visual.regions(images, boxes=GIVEN)
    count = visual.nms.regions
    assert regions.mask.tolist() == [[index < len(boxes) for index in range(count)] for boxes in GIVEN]
    features = visual.roi_head(visual.feature_maps(images), GIVEN).features
    for index, boxes in enumerate(GIVEN):
        assert torch.equal(regions.boxes[index, : len(boxes)], boxes)
        assert torch.equal(regions.features[index, : len(boxes)], features[index])
        assert not regions.features[index, len(boxes) :].any()
    assert visual.load == {"regions": 1}
    many = visual.regions(images, boxes=[GIVEN[0].repeat(4, 1)] * 2)
    assert many.boxes.shape == (2, 12, 4)
    assert many.mask is None


@torch.no_grad()
def test_a_regions_feature_is_what_its_scores_were_read_from() -> None:
    visual, images = embedder(), images_of(*SIZES)
    randomise(visual.roi_head.classifier)
    visual.nms.iou = 1.0  # so that each box keeps its highest score as its confidence
    regions = visual.regions(images)
    logits = visual.roi_head.classify(regions.features)[0]
    assert logits.shape[2] == visual.roi_head.classes + 1
    torch.testing.assert_close(logits.softmax(dim=2)[..., :-1].amax(dim=2), regions.confidence, atol=1e-6, rtol=1e-5)


def test_a_frozen_detector_neither_learns_nor_changes_in_training() -> None:
    spec = catalog()["uniter-base"].tiny()
    trained = spec.visual.backbone.model_copy(update={"norm": "trained", "frozen_stages": 0})
    visual = build(spec.model_copy(update={"visual": spec.visual.model_copy(update={"backbone": trained})})).visual
    visual.freeze_detector()
    visual.train()
    before = {name: values.clone() for name, values in visual.state_dict().items()}
    regions = visual.regions(images_of(*SIZES))
    assert not regions.features.requires_grad
    visual(images_of(*SIZES)).values.square().sum().backward()
    gradients = {name: parameter.grad is not None for name, parameter in visual.named_parameters()}
    assert not any(found for name, found in gradients.items() if name.startswith(DETECTOR))
    assert all(found for name, found in gradients.items() if name.startswith("projection"))
    assert all(torch.equal(values, before[name]) for name, values in visual.state_dict().items())
    norms = [module for module in visual.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert visual.projection.training


def test_a_detector_that_is_not_frozen_trains() -> None:
    visual = embedder().train()
    visual(images_of(*SIZES)).values.square().sum().backward()
    assert visual.roi_head.res5[0].conv1.weight.grad is not None


@pytest.mark.parametrize("flags", [(), (TRAINED,), (CAFFE_POOLING,), (TRAINED, CAFFE_POOLING)])
def test_flags_are_loaded_one_by_one(flags: tuple[str, ...]) -> None:
    visual = embedder()
    visual.load_extra_state(flags)
    assert visual.extra_state() == flags
    assert visual.rpn.inject_load == (TRAINED not in flags)
    assert visual.backbone.stem[3].padding == (0 if CAFFE_POOLING in flags else 1)

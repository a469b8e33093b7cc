"""Feature pyramids, their proposals and their RoI head against torchvision, Detectron2 and formulas."""

from __future__ import annotations

import math
from collections import OrderedDict

import pytest
import torch
from examples import blank
from test_detector import Given
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork as TorchvisionRPN
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import roi_align
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool
from torchvision.ops.poolers import LevelMapper
from weights import affine, randomise

from vlbench.architectures.detector import RegionProposalNetwork, anchors_on_grid, spread_boxes
from vlbench.architectures.roi_heads import FeaturePyramid, FpnRoIHead, levels_of
from vlbench.specs import FeaturePyramidSpec, FpnHeadSpec, RegionProposalSpec

SIZES, RATIOS, STRIDES = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0), (4, 8, 16, 32, 64)
CHANNELS = 8
NAMES = ["p2", "p3", "p4", "p5", "p6"]


def levels(batch: int, height: int, width: int) -> list[Tensor]:
    """A feature map of each level."""
    return [torch.randn(batch, CHANNELS, -(-height // stride), -(-width // stride)) for stride in STRIDES]


def network(**changes: object) -> RegionProposalNetwork:
    arguments = {
        "channels": CHANNELS,
        "anchor_sizes": SIZES,
        "aspect_ratios": RATIOS,
        "candidates": 100,
        "proposals": 60,
        "nms_iou": 0.7,
        "min_box_size": 0.0,
    }
    rpn = RegionProposalNetwork(RegionProposalSpec(**(arguments | changes)), inputs=CHANNELS, strides=STRIDES)
    with torch.no_grad():
        for name, parameter in rpn.named_parameters():
            parameter.normal_(0, 0.05 if "deltas" in name else 0.3)
    return rpn.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (70, 101)])
def test_a_feature_pyramid_equals_torchvisions(size: tuple[int, int]) -> None:
    inputs = (4, 6, 10, 12)
    reference = randomise(FeaturePyramidNetwork(list(inputs), CHANNELS, LastLevelMaxPool()))
    state = reference.state_dict()
    pyramid = FeaturePyramid(FeaturePyramidSpec(channels=CHANNELS), inputs=inputs).eval()
    pairs = [
        affine(state, f"{theirs}.{index}.0", f"{ours}.{index}")
        for index in range(4)
        for ours, theirs in (("lateral", "inner_blocks"), ("output", "layer_blocks"))
    ]
    pyramid.load_state_dict({name: value for pair in pairs for name, value in pair.items()})
    shapes = [tuple(-(-side // stride) for side in size) for stride in STRIDES]
    stages = [torch.randn(2, width, *shape) for width, shape in zip(inputs, shapes, strict=False)]
    expected = list(reference(OrderedDict(zip(NAMES, stages, strict=False))).values())
    given = pyramid(stages)
    assert [tuple(level.shape[2:]) for level in given] == shapes
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def boxes_of_many_sizes() -> Tensor:
    """Some on the border between levels, one without an extent."""
    sides = [(1, 1), (0, 0), (111.9, 112), (112, 112), (223.9, 224), (224, 224), (448, 448), (56, 448), (900, 1300)]
    exact = torch.tensor([(3.0, 5.0, 3.0 + width, 5.0 + height) for height, width in sides])
    return torch.cat((exact, spread_boxes(300, 800, 1333)))


def test_a_boxs_level_is_torchvisions() -> None:
    boxes = boxes_of_many_sizes()
    expected = LevelMapper(2, 5)([boxes]) + 2
    assert set(expected.tolist()) == {2, 3, 4, 5}
    assert torch.equal(levels_of(boxes), expected)


def test_a_boxs_level_is_detectron2s() -> None:
    poolers, structures = (pytest.importorskip(f"detectron2.{name}") for name in ("modeling.poolers", "structures"))
    boxes = boxes_of_many_sizes()
    expected = poolers.assign_boxes_to_levels([structures.Boxes(boxes)], 2, 5, 224, 4) + 2
    assert torch.equal(levels_of(boxes), expected)


def test_each_level_has_anchors_of_its_own_size_as_torchvisions_but_for_its_rounding() -> None:
    rpn, features, image = network(), levels(1, 96, 128), torch.zeros(1, 3, 96, 128)
    generator = AnchorGenerator(tuple((size,) for size in SIZES), (RATIOS,) * 5)
    theirs = generator(ImageList(image, [(96, 128)]), features)[0]
    ours = torch.cat([rpn._anchors_over(index, level) for index, level in enumerate(features)])
    assert ours.shape == theirs.shape
    # torchvision derives a stride from the extents, so where 64 does not divide 96 its own differs
    alike = sum(3 * level.shape[2] * level.shape[3] for level in features[:4])
    assert (ours[:alike] - theirs[:alike]).abs().max() <= 0.5


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[(96, 128)] * 2, [(96, 128), (64, 70)]])
def test_proposals_of_all_levels_equal_torchvisions(sizes: list[tuple[int, int]]) -> None:
    rpn, features, images = network(), levels(2, 96, 128), blank(*sizes)
    head = RPNHead(CHANNELS, len(RATIOS))
    head.conv[0][0].load_state_dict(rpn.conv.state_dict())
    head.cls_logits.load_state_dict(rpn.objectness.state_dict())
    head.bbox_pred.load_state_dict(rpn.deltas.state_dict())
    anchors = torch.cat(
        [anchors_on_grid(rpn.shapes[index], *level.shape[2:], STRIDES[index]) for index, level in enumerate(features)]
    )
    amounts = {"pre_nms_top_n": {"testing": 100}, "post_nms_top_n": {"testing": 60}}
    reference = TorchvisionRPN(Given(anchors), head, 0.7, 0.3, 256, 0.5, **amounts, nms_thresh=0.7).eval()
    reference.min_size = 0.0
    expected, _ = reference(ImageList(images.pixels, sizes), OrderedDict(zip(NAMES, features, strict=True)))
    proposals = rpn(features, images)
    for ours, theirs in zip(proposals.boxes, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-5)
    assert proposals.candidates == rpn.expected_candidates(96, 128) == 100 + 100 + 100 + 3 * 12 + 3 * 4


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[(96, 128)] * 2, [(96, 128), (64, 70)]])
def test_proposals_of_all_levels_equal_detectron2s(sizes: list[tuple[int, int]]) -> None:
    """With a smallest side: at 0 Detectron2 drops boxes that lie outside an image, and torchvision keeps them."""
    theirs = detectron2_rpn(rpn := network(min_box_size=1e-3))
    structures = pytest.importorskip("detectron2.structures")
    features, images = levels(2, 96, 128), blank(*sizes)
    given = structures.ImageList(images.pixels, sizes)
    expected, _ = theirs(given, dict(zip(NAMES, features, strict=True)))
    for ours, found in zip(rpn(features, images).boxes, expected, strict=True):
        torch.testing.assert_close(ours, found.proposal_boxes.tensor, atol=1e-3, rtol=1e-5)


def detectron2_rpn(ours: RegionProposalNetwork) -> torch.nn.Module:
    """Theirs with the same weights; its matcher and losses are of training alone."""
    rpn = pytest.importorskip("detectron2.modeling.proposal_generator.rpn")
    anchors, regression, matcher = (
        pytest.importorskip(f"detectron2.modeling.{name}") for name in ("anchor_generator", "box_regression", "matcher")
    )
    head = rpn.StandardRPNHead(in_channels=CHANNELS, num_anchors=len(RATIOS), conv_dims=(-1,))
    head.conv.load_state_dict(ours.conv.state_dict())
    head.objectness_logits.load_state_dict(ours.objectness.state_dict())
    head.anchor_deltas.load_state_dict(ours.deltas.state_dict())
    generator = anchors.DefaultAnchorGenerator(
        sizes=[[size] for size in SIZES], aspect_ratios=[list(RATIOS)], strides=list(STRIDES), offset=0.0
    )
    return rpn.RPN(
        in_features=NAMES,
        head=head,
        anchor_generator=generator,
        anchor_matcher=matcher.Matcher([0.3, 0.7], [0, -1, 1]),
        box2box_transform=regression.Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(100, 100),
        post_nms_topk=(60, 60),
        nms_thresh=0.7,
        min_box_size=ours.min_box_size,
    ).eval()


def roi_head(**changes: object) -> FpnRoIHead:
    arguments = {"kind": "fpn", "pool_size": 7, "width": 16, "classes": 5, "box_regression": "per_class"}
    return FpnRoIHead(FpnHeadSpec(**(arguments | changes)), inputs=CHANNELS, strides=STRIDES).eval()


def pooled_windows(head: FpnRoIHead, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
    """What enters the linear layers, (R, C, 7, 7)."""
    seen: list[Tensor] = []
    hook = head.mlp.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    head(features, boxes)
    hook.remove()
    return seen[0].unflatten(1, (CHANNELS, 7, 7))


@torch.no_grad()
def test_each_box_is_pooled_from_the_level_of_its_size() -> None:
    """The level by FPN's equation 1, box by box."""
    features, boxes = levels(2, 800, 1333), [boxes_of_many_sizes(), spread_boxes(40, 600, 900)]
    ours = iter(pooled_windows(roi_head(), features, boxes))
    for image, some in enumerate(boxes):
        for box in some:
            side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
            level = min(5, max(2, math.floor(4 + math.log2(side / 224 + 1e-8))))
            level_map = features[level - 2][image : image + 1]
            expected = roi_align(level_map, [box[None]], 7, 1 / 2**level, sampling_ratio=0, aligned=True)[0]
            torch.testing.assert_close(next(ours), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_pooling_equals_detectron2s() -> None:
    poolers, structures = (pytest.importorskip(f"detectron2.{name}") for name in ("modeling.poolers", "structures"))
    features, boxes = levels(2, 800, 1333), [boxes_of_many_sizes(), spread_boxes(40, 600, 900)]
    scales = [1 / stride for stride in STRIDES[:4]]
    reference = poolers.ROIPooler(7, scales, sampling_ratio=0, pooler_type="ROIAlignV2")
    expected = reference(features[:4], [structures.Boxes(some) for some in boxes])
    torch.testing.assert_close(pooled_windows(roi_head(), features, boxes), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("regression", "deltas"), [("per_class", 20), ("class_agnostic", 4)])
def test_two_linear_layers_give_the_feature_and_from_it_scores_and_deltas(regression: str, deltas: int) -> None:
    head = randomise(roi_head(box_regression=regression))
    features, boxes = levels(2, 96, 128), [spread_boxes(3, 96, 128), spread_boxes(7, 96, 128)]
    windows, found = pooled_windows(head, features, boxes).flatten(1), head(features, boxes)
    hidden = F.relu(windows @ head.mlp[0].weight.T + head.mlp[0].bias)
    expected = F.relu(hidden @ head.mlp[2].weight.T + head.mlp[2].bias)
    torch.testing.assert_close(torch.cat(found.features), expected, atol=1e-4, rtol=1e-5)
    logits = head.classifier(expected)
    torch.testing.assert_close(torch.cat(found.scores), logits.softmax(1)[:, :5], atol=1e-5, rtol=0)
    assert [tuple(values.shape) for values in found.deltas] == [(3, deltas), (7, deltas)]
    torch.testing.assert_close(torch.cat(found.deltas), head.box_regressor(expected), atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_boxes_of_one_size_leave_the_other_levels_unread() -> None:
    features = levels(1, 800, 1333)
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    before = pooled_windows(roi_head(), features, [box])
    changed = [features[0], *(torch.randn_like(level) for level in features[1:])]
    assert torch.equal(pooled_windows(roi_head(), changed, [box]), before)

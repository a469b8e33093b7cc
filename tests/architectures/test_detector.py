"""Anchors, decoding, proposals and RoI pooling against torchvision, Detectron2 and formulas."""

from __future__ import annotations

import math

import pytest
import torch
from examples import blank
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork as TorchvisionRPN
from torchvision.models.detection.rpn import RPNHead

from vlbench.architectures.detector import (
    RegionProposalNetwork,
    anchor_shapes,
    anchors_on_grid,
    decode,
    spread_boxes,
)
from vlbench.architectures.region import geometry
from vlbench.architectures.roi_heads import C4RoIHead, with_image_index
from vlbench.specs import C4HeadSpec, RegionProposalSpec

SIZES, RATIOS, STRIDE = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0), 16


def network(**changes: object) -> RegionProposalNetwork:
    arguments = {
        "channels": 8,
        "anchor_sizes": (32, 64),
        "aspect_ratios": RATIOS,
        "candidates": 90,
        "proposals": 40,
        "nms_iou": 0.7,
        "min_box_size": 1e-3,
    }
    rpn = RegionProposalNetwork(RegionProposalSpec(**(arguments | changes)), inputs=8, strides=[STRIDE])
    with torch.no_grad():
        for name, parameter in rpn.named_parameters():
            parameter.normal_(0, 0.05 if "deltas" in name else 0.3)
    return rpn.eval()


def roi_head(**changes: object) -> C4RoIHead:
    arguments = {
        "kind": "c4",
        "pooling": "roi_align",
        "pool_size": 4,
        "blocks": 1,
        "groups": 1,
        "group_width": 64,
        "stride": 2,
        "dilation": 1,
        "classes": 5,
        "box_regression": "per_class",
    }
    spec = C4HeadSpec(**(arguments | changes))
    return C4RoIHead(spec, inputs=1024, feature_stride=STRIDE, stride_in="1x1").eval()


def test_an_anchor_has_the_area_of_its_size_and_the_ratio_of_its_height_to_its_width() -> None:
    shapes = anchor_shapes(SIZES, RATIOS)
    expected = [(size, ratio) for size in SIZES for ratio in RATIOS]
    for (width, height), (size, ratio) in zip(shapes, expected, strict=True):
        assert width * height == pytest.approx(size**2)
        assert height / width == pytest.approx(ratio)


def test_anchors_are_torchvisions_but_for_its_rounding_and_order() -> None:
    """torchvision rounds corners to whole pixels and goes size by size within each ratio."""
    height, width = 3, 5
    ours = anchors_on_grid(anchor_shapes(SIZES, RATIOS), height, width, STRIDE)
    images = ImageList(torch.zeros(1, 3, height * STRIDE, width * STRIDE), [(height * STRIDE, width * STRIDE)])
    theirs = AnchorGenerator((SIZES,), (RATIOS,))(images, [torch.zeros(1, 1, height, width)])[0]
    theirs = theirs.reshape(height, width, len(RATIOS), len(SIZES), 4).transpose(2, 3).reshape(-1, 4)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= 0.5


@pytest.mark.parametrize("stride", [8, 16])
def test_anchors_equal_detectron2s(stride: int) -> None:
    module = pytest.importorskip("detectron2.modeling.anchor_generator")
    ours = anchors_on_grid(anchor_shapes(SIZES, RATIOS), 4, 7, stride)
    generator = module.DefaultAnchorGenerator(
        sizes=[list(SIZES)], aspect_ratios=[list(RATIOS)], strides=[stride], offset=0.0
    )
    theirs = generator([torch.zeros(1, 1, 4, 7)])[0].tensor
    assert torch.equal(ours, theirs)


def test_decoding_equals_torchvisions_box_coder_also_where_it_clips() -> None:
    anchors = torch.rand(200, 4) * 100
    anchors[:, 2:] += anchors[:, :2] + 1
    deltas = torch.randn(200, 4)
    deltas[:20, 2:] = 10
    expected = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(deltas, anchors)
    torch.testing.assert_close(decode(deltas, anchors), expected, atol=1e-2, rtol=1e-5)
    growth = decode(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 0.0, 16.0, 16.0]]))[0]
    torch.testing.assert_close(growth, torch.tensor([-492.0, -492.0, 508.0, 508.0]))


class Given(nn.Module):
    """torchvision's place for an anchor generator, with anchors made elsewhere."""

    def __init__(self, anchors: Tensor) -> None:
        super().__init__()
        self.anchors = anchors

    def forward(self, images: ImageList, features: list[Tensor]) -> list[Tensor]:
        return [self.anchors] * len(images.image_sizes)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[(96, 128)] * 2, [(96, 128), (64, 70)]])
def test_proposals_equal_torchvisions(sizes: list[tuple[int, int]]) -> None:
    rpn, features, images = network(), torch.randn(2, 8, 6, 8), blank(*sizes)
    head = RPNHead(8, 6)
    head.conv[0][0].load_state_dict(rpn.conv.state_dict())
    head.cls_logits.load_state_dict(rpn.objectness.state_dict())
    head.bbox_pred.load_state_dict(rpn.deltas.state_dict())
    anchors = anchors_on_grid(rpn.shapes[0], 6, 8, STRIDE)
    amounts = {"pre_nms_top_n": {"testing": 90}, "post_nms_top_n": {"testing": 40}}
    reference = TorchvisionRPN(Given(anchors), head, 0.7, 0.3, 256, 0.5, **amounts, nms_thresh=0.7).eval()
    expected, _ = reference(ImageList(images.pixels, sizes), {"0": features})
    proposals = rpn([features], images)
    for ours, theirs in zip(proposals.boxes, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-5)
    assert 0 < proposals.candidates <= 90


@torch.no_grad()
@pytest.mark.parametrize("spread", [0.0, 0.01, 3.0])
def test_injected_load_is_the_declared_number_however_much_the_boxes_overlap(spread: float) -> None:
    rpn, images = network(proposals=50, nms_iou=0.1), blank((96, 128), (64, 70))
    rpn.deltas.weight.mul_(spread)
    rpn.inject_load = False
    own = rpn([torch.randn(2, 8, 6, 8)], images).boxes
    assert min(len(boxes) for boxes in own) < 50
    rpn.inject_load = True
    injected = rpn([torch.randn(2, 8, 6, 8)], images).boxes
    assert [len(boxes) for boxes in injected] == [50, 50]
    for boxes, (height, width) in zip(injected, images.sizes, strict=True):
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()


@torch.no_grad()
def test_features_that_are_no_numbers_leave_no_candidates() -> None:
    rpn = network(min_box_size=0.0)
    rpn.inject_load = True
    assert rpn([torch.randn(2, 8, 6, 8)], blank((96, 128), (96, 128))).candidates == 90
    assert rpn([torch.full((2, 8, 6, 8), math.nan)], blank((96, 128), (96, 128))).candidates == 0


@torch.no_grad()
def test_anchors_follow_the_feature_map_from_one_pass_to_the_next() -> None:
    rpn, features = network(), torch.randn(1, 8, 9, 5)
    rpn([torch.randn(1, 8, 6, 8)], blank((96, 128)))
    fresh = network()
    fresh.load_state_dict(rpn.state_dict())
    again, once = rpn([features], blank((144, 80))), fresh([features], blank((144, 80)))
    assert torch.equal(again.boxes[0], once.boxes[0])


def test_spread_boxes_come_in_all_sizes_and_are_the_same_each_time() -> None:
    boxes = spread_boxes(1000, 800, 1333)
    assert torch.equal(boxes, spread_boxes(1000, 800, 1333))
    share = (boxes[:, 2:] - boxes[:, :2]) / torch.tensor([1333.0, 800.0])
    assert ((share > 0) & (share <= 1)).all()
    for low, high in ((0.02, 0.1), (0.1, 0.4), (0.4, 1.0)):
        assert ((share > low) & (share <= high)).float().mean() > 0.15


def test_aligned_pooling_of_a_ramp_gives_the_centres_of_the_bins() -> None:
    """A feature map whose value is its column pools to the bin's centre, half a cell to the left ("aligned")."""
    ramp = torch.arange(40.0).expand(1, 1, 30, 40).contiguous()
    box = torch.tensor([[37.0, 64.0, 421.0, 320.0]])
    pooled = roi_head()._pool(ramp, with_image_index([box]))[0, 0]
    bin_width = (421 - 37) / STRIDE / 4
    centres = 37 / STRIDE + (torch.arange(4) + 0.5) * bin_width - 0.5
    torch.testing.assert_close(pooled, centres.expand(4, 4), atol=1e-4, rtol=0)


def test_max_pooling_of_a_box_on_cells_gives_the_maximum_of_each_bin() -> None:
    features = torch.randn(1, 3, 30, 40)
    boxes = torch.tensor([[16.0, 32.0, 16.0 + 7 * 16, 32.0 + 11 * 16]])  # to the last cell: 8 columns, 12 rows
    pooled = roi_head(pooling="roi_pool")._pool(features, with_image_index([boxes]))[0]
    expected = features[0, :, 2:14, 1:9].reshape(3, 4, 3, 4, 2).amax(dim=(2, 4))
    torch.testing.assert_close(pooled, expected)


@pytest.mark.parametrize("pooling", ["roi_align", "roi_pool"])
def test_pooling_keeps_each_images_boxes_with_its_features(pooling: str) -> None:
    features = torch.stack([torch.full((2, 10, 10), float(value)) for value in (1, 2)])
    boxes = [spread_boxes(3, 160, 160), spread_boxes(5, 160, 160)]
    pooled = roi_head(pooling=pooling)._pool(features, with_image_index(boxes))
    torch.testing.assert_close(pooled.mean(dim=(1, 2, 3)), torch.tensor([1.0] * 3 + [2.0] * 5))


@torch.no_grad()
@pytest.mark.parametrize(("regression", "deltas"), [("per_class", 20), ("class_agnostic", 4)])
def test_scores_are_probabilities_without_the_background(regression: str, deltas: int) -> None:
    head = roi_head(box_regression=regression)
    found = head([torch.randn(2, 1024, 6, 8)], [spread_boxes(3, 96, 128), spread_boxes(7, 96, 128)])
    assert [tuple(scores.shape) for scores in found.scores] == [(3, 5), (7, 5)]
    assert [tuple(values.shape) for values in found.deltas] == [(3, deltas), (7, deltas)]
    features = torch.cat(found.features)
    expected = (features @ head.classifier.weight.T + head.classifier.bias).exp()
    expected = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(torch.cat(found.scores), expected[:, :5])


def test_geometry_is_the_corners_sides_and_area_as_shares_of_each_image() -> None:
    boxes = torch.tensor([[[10.0, 20.0, 50.0, 60.0]], [[0.0, 0.0, 100.0, 50.0]]])
    shares = geometry(boxes, blank((80, 200), (50, 100)), 7)
    expected = [[0.05, 0.25, 0.25, 0.75, 0.2, 0.5, 0.1], [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    torch.testing.assert_close(shares[:, 0], torch.tensor(expected))

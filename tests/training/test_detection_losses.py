"""Matching, sampling and the losses of a detector against torchvision's, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork as TorchvisionRPN
from torchvision.ops import box_iou

from vlbench.architectures.detector import anchors_on_grid, decode, encode
from vlbench.training.detection_losses import (
    BACKGROUND,
    IGNORED,
    Sampled,
    match,
    proposal_losses,
    region_losses,
    sample,
)


def boxes(count: int, seed: int = 0, side: float = 100.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * side
    return torch.cat((corners, corners + 2 + torch.rand(count, 2, generator=generator) * side / 2), dim=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_matching_by_hand() -> None:
    """Overlaps with the object of 10x10: 1, 0.8, 0.5, 0.2, and none; the other object is best met by a third of it."""
    objects = torch.tensor([[0.0, 0, 10, 10], [50, 50, 80, 60]])
    anchors = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [90, 90, 99, 99], [50, 50, 60, 60]]
    )
    rules = {"foreground": 0.7, "background": 0.3}
    alone = match(anchors, objects, **rules, each_object=False)
    assert alone.tolist() == [0, 0, IGNORED, BACKGROUND, BACKGROUND, IGNORED]
    assert match(anchors, objects, **rules, each_object=True).tolist() == [0, 0, IGNORED, BACKGROUND, BACKGROUND, 1]


@pytest.mark.parametrize("each_object", [True, False])
@pytest.mark.parametrize("thresholds", [(0.7, 0.3), (0.5, 0.5)])
@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_torchvisions(each_object: bool, thresholds: tuple[float, float], seed: int) -> None:
    anchors, objects = boxes(500, seed), boxes(9, seed + 100)
    expected = Matcher(*thresholds, allow_low_quality_matches=each_object)(box_iou(objects, anchors))
    ours = match(anchors, objects, foreground=thresholds[0], background=thresholds[1], each_object=each_object)
    assert (expected >= 0).any()
    assert torch.equal(ours, expected)


def test_without_an_object_all_is_background_and_one_that_nothing_overlaps_takes_nothing() -> None:
    anchors, rules = boxes(7), {"foreground": 0.7, "background": 0.3, "each_object": True}
    assert match(anchors, torch.zeros(0, 4), **rules).tolist() == [BACKGROUND] * 7
    assert match(anchors, torch.tensor([[900.0, 900, 950, 950]]), **rules).tolist() == [BACKGROUND] * 7


def test_samples_are_random_within_their_shares_and_the_same_for_a_seed() -> None:
    matched = torch.tensor([0] * 30 + [BACKGROUND] * 100 + [IGNORED] * 20)
    chosen = sample(matched, count=40, positive_share=0.5, generator=seeded())
    assert (len(chosen.positive), len(chosen.negative)) == (20, 20)
    assert len(set(chosen.both.tolist())) == 40
    assert (matched[chosen.positive] == 0).all()
    assert (matched[chosen.negative] == BACKGROUND).all()
    again, other = (sample(matched, count=40, positive_share=0.5, generator=seeded(seed)) for seed in (0, 1))
    assert torch.equal(again.both, chosen.both)
    assert not torch.equal(other.both, chosen.both)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"), [(3, 100, (3, 37)), (100, 5, (20, 5)), (0, 100, (0, 40)), (0, 0, (0, 0))]
)
def test_where_there_are_few_of_a_kind_all_are_taken(positive: int, negative: int, expected: tuple[int, int]) -> None:
    matched = torch.tensor([0] * positive + [BACKGROUND] * negative + [IGNORED] * 9, dtype=torch.long)
    chosen = sample(matched, count=40, positive_share=0.5, generator=seeded())
    assert (len(chosen.positive), len(chosen.negative)) == expected


def test_encoding_by_hand_and_back_and_as_torchvision_does() -> None:
    deltas = encode(torch.tensor([[10.0, 20, 30, 60]]), torch.tensor([[0.0, 0, 10, 20]]))
    torch.testing.assert_close(deltas, torch.tensor([[1.5, 1.5, math.log(2), math.log(2)]]))
    targets, anchors = boxes(50, 1), boxes(50, 2)
    torch.testing.assert_close(decode(encode(targets, anchors), anchors), targets, atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(
        encode(targets, anchors), BoxCoder((1.0, 1.0, 1.0, 1.0)).encode_single(targets, anchors), atol=1e-5, rtol=1e-5
    )


def test_the_losses_of_proposals_by_hand() -> None:
    """One positive anchor 2 too far left of 10 (0.2), one negative: -log p each, and 0.2 - 1/18 over two anchors."""
    anchors = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [70, 70, 80, 80]])
    objects = [torch.tensor([[2.0, 0, 12, 10]])]
    logits = torch.tensor([[math.log(3), math.log(1 / 3), 9.0]])
    chosen = [Sampled(positive=torch.tensor([0]), negative=torch.tensor([1]))]
    objectness, box = proposal_losses(
        logits, torch.zeros(1, 3, 4), anchors, objects, [torch.tensor([0, BACKGROUND, BACKGROUND])], chosen
    )
    assert objectness.item() == pytest.approx(-math.log(0.75))
    assert box.item() == pytest.approx((0.2 - 1 / 18) / 2)


@pytest.mark.parametrize("objects_in_second", [4, 0])
def test_the_losses_of_proposals_equal_torchvisions(objects_in_second: int) -> None:
    """torchvision draws its own sample from the global state: with all anchors in it there is but one."""
    anchors = anchors_on_grid([(20.0, 20.0), (40.0, 30.0)], 8, 8, 16)
    objects = [boxes(5, 1), boxes(objects_in_second, 2)]
    torch.manual_seed(0)
    logits, deltas = torch.randn(2, len(anchors)), 0.3 * torch.randn(2, len(anchors), 4)
    reference = TorchvisionRPN(None, None, 0.7, 0.3, 1000, 0.5, {}, {}, 0.7)
    labels, matched_boxes = reference.assign_targets_to_anchors(
        [anchors, anchors], [{"boxes": some} for some in objects]
    )
    targets = reference.box_coder.encode(matched_boxes, [anchors, anchors])
    expected = reference.compute_loss(logits.flatten()[:, None], deltas.flatten(0, 1), labels, targets)
    matched = [match(anchors, some, foreground=0.7, background=0.3, each_object=True) for some in objects]
    sampled = [sample(some, count=1000, positive_share=0.5, generator=seeded()) for some in matched]
    ours = proposal_losses(logits, deltas, anchors, objects, matched, sampled)
    for our_loss, theirs in zip(ours, expected, strict=True):
        assert theirs > 0
        torch.testing.assert_close(our_loss, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("regression", ["per_class", "class_agnostic"])
def test_the_losses_of_regions_equal_torchvisions(regression: str) -> None:
    """torchvision's background is class 0, ours the last; its box deltas have a column of background, too."""
    count, classes = 40, 5
    torch.manual_seed(0)
    proposals, objects, labels = boxes(count, 3), boxes(count, 4), torch.arange(count) % (classes + 1)
    logits, deltas = (
        torch.randn(count, classes + 1),
        torch.randn(count, 4 * (classes if regression == "per_class" else 1)),
    )
    ours = region_losses(logits, deltas, proposals, labels, objects)
    targets = BoxCoder((10.0, 10.0, 5.0, 5.0)).encode([objects], [proposals])[0]
    by_class = deltas if regression == "per_class" else deltas.repeat(1, classes)
    expected = fastrcnn_loss(
        logits.roll(1, dims=1), F.pad(by_class, (4, 0), value=7.0), [(labels + 1) % (classes + 1)], [targets]
    )
    for our_loss, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(our_loss, theirs, atol=1e-6, rtol=1e-5)


def test_a_batch_without_objects_costs_no_boxes_and_has_gradients() -> None:
    logits, deltas = torch.zeros(6, 4, requires_grad=True), torch.zeros(6, 12, requires_grad=True)
    of_class, box = region_losses(logits, deltas, boxes(6), torch.full((6,), 3), boxes(6))
    (of_class + box).backward()
    assert of_class.item() == pytest.approx(math.log(4))
    assert box.item() == 0
    assert deltas.grad is not None
    assert not deltas.grad.any()

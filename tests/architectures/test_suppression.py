"""Suppression: the batched method against the loop, and both against a greedy choice in plain Python."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vlbench.architectures.nms import class_agnostic, per_class_batched, per_class_loop
from vlbench.architectures.region import RegionSelection
from vlbench.architectures.roi_heads import Classified
from vlbench.specs import RegionSelectionSpec


def random_boxes(count: int, *, grid: int = 0) -> Tensor:
    """Boxes within 100 pixels; on a coarse grid many are identical, touch, or have no area."""
    corners = torch.rand(count, 2, 2) * 100
    if grid:
        corners = (corners / 100 * grid).round() * (100 / grid)
    low, high = corners.min(dim=1).values, corners.max(dim=1).values
    return torch.cat((low, high), dim=1)


def overlap(a: list[float], b: list[float]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else 0.0


def greedy(boxes: list[list[float]], scores: list[float], iou: float) -> list[int]:
    """The best box that is left, then without all that overlap it by more than `iou`, until none is left."""
    left = sorted(range(len(boxes)), key=lambda index: -scores[index])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [index for index in left if overlap(boxes[best], boxes[index]) <= iou]
    return kept


def greedy_per_class(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    confidence = [0.0] * len(boxes)
    for column in scores.T.tolist():
        for index in greedy(boxes.tolist(), column, iou):
            confidence[index] = max(confidence[index], column[index])
    return torch.tensor(confidence)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("iou", [0.0, 0.3125, 0.5, 1.0])
def test_loop_and_batched_equal_a_greedy_choice_in_plain_python(seed: int, iou: float) -> None:
    """Thresholds exact in binary: torchvision compares a float32 overlap, where 3/10 is more than 0.3."""
    torch.manual_seed(seed)
    boxes = random_boxes(25, grid=10 if seed % 2 else 0)
    scores = (torch.rand(25, 6) * 8).round() / 8
    expected = greedy_per_class(boxes.double(), scores, iou)
    assert torch.equal(per_class_loop(boxes, scores, iou), expected)
    assert torch.equal(per_class_batched(boxes, scores, iou), expected)


@pytest.mark.parametrize("seed", range(10))
def test_class_agnostic_equals_a_greedy_choice_by_the_highest_score(seed: int) -> None:
    torch.manual_seed(seed)
    boxes, scores = random_boxes(25), torch.rand(25, 6)
    best = scores.amax(1).tolist()
    kept = greedy(boxes.double().tolist(), best, 0.4)
    expected = torch.tensor([score if index in kept else 0.0 for index, score in enumerate(best)])
    assert torch.equal(class_agnostic(boxes, scores, 0.4), expected)


@pytest.mark.parametrize("seed", range(50))
def test_batched_equals_loop_with_ties_empty_classes_and_degenerate_boxes(seed: int) -> None:
    torch.manual_seed(seed)
    count = [1, 2, 7, 61, 62, 63, 100, 124, 125, 200][seed % 10]
    boxes = random_boxes(count, grid=[0, 6, 20][seed % 3])
    scores = (torch.rand(count, 24).pow(2) * 16).round() / 16
    scores[:, :3] = 0
    if seed % 2:
        boxes[count // 2 :, 2:] = boxes[count // 2 :, :2]
    for iou in (0.3, 0.5, 0.7):
        assert torch.equal(per_class_batched(boxes, scores, iou), per_class_loop(boxes, scores, iou))


@pytest.mark.parametrize("count", [1, 5, 62, 63, 130, 300])
def test_of_identical_boxes_one_survives_in_each_class(count: int) -> None:
    boxes = torch.tensor([[10.0, 20.0, 50.0, 60.0]]).repeat(count, 1)
    scores = torch.rand(count, 4)
    expected = torch.zeros(count)
    for column in scores.T:
        winner = int(column.argmax())
        expected[winner] = max(float(expected[winner]), float(column[winner]))
    for method in (per_class_loop, per_class_batched):
        assert torch.equal(method(boxes, scores, 0.5), expected)


def test_of_equal_scores_the_first_box_survives() -> None:
    boxes = torch.tensor([[10.0, 20.0, 50.0, 60.0]]).repeat(4, 1)
    scores = torch.full((4, 2), 0.5)
    for method in (per_class_loop, per_class_batched, class_agnostic):
        assert method(boxes, scores, 0.5).tolist() == [0.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("parts", "iou"), [(1, 0.5), (1, 0.25), (3, 0.75), (5, 0.625)])
def test_an_overlap_of_exactly_the_threshold_stays(parts: int, iou: float) -> None:
    """A box of `parts` cells within one of `parts / iou` cells overlaps it by `iou`, exact in binary."""
    boxes = torch.tensor([[0.0, 0.0, parts / iou, 1.0], [0.0, 0.0, float(parts), 1.0]])
    scores = torch.tensor([[0.9], [0.8]])
    for method in (per_class_loop, per_class_batched, class_agnostic):
        assert torch.equal(method(boxes, scores, iou), scores[:, 0])
        assert method(boxes, scores, iou - 1e-6).tolist() == [scores[0, 0].item(), 0.0]


@pytest.mark.parametrize("tenths", range(1, 10))
def test_batched_rounds_a_decimal_threshold_as_the_loop_does(tenths: int) -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 1.0], [0.0, 0.0, float(tenths), 1.0]])
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.3]])
    iou = tenths / 10
    assert torch.equal(per_class_batched(boxes, scores, iou), per_class_loop(boxes, scores, iou))


def test_boxes_without_area_strike_nothing_out() -> None:
    boxes = torch.tensor([[5.0, 5.0, 5.0, 5.0]] * 3 + [[0.0, 0.0, 10.0, 10.0]])
    scores = torch.tensor([[0.9], [0.8], [0.7], [0.6]])
    for method in (per_class_loop, per_class_batched, class_agnostic):
        assert torch.equal(method(boxes, scores, 0.3), scores[:, 0])


def test_no_boxes_give_no_confidences() -> None:
    for method in (per_class_loop, per_class_batched, class_agnostic):
        assert method(torch.empty(0, 4), torch.empty(0, 3), 0.3).shape == (0,)


def classified(*counts: int) -> Classified:
    return Classified(
        boxes=[random_boxes(count) for count in counts],
        scores=[torch.rand(count, 5) for count in counts],
        features=[torch.randn(count, 2048) for count in counts],
        deltas=[torch.zeros(count, 20) for count in counts],
    )


def test_selection_keeps_the_most_confident_boxes_with_their_features() -> None:
    heads = classified(40, 60)
    regions = RegionSelection(RegionSelectionSpec(method="per_class_loop", iou=0.3, regions=8))(heads)
    assert regions.mask is None
    for image in range(2):
        confidence = greedy_per_class(heads.boxes[image].double(), heads.scores[image], 0.3)
        best = sorted(confidence.tolist(), reverse=True)[:8]
        assert regions.confidence[image].tolist() == best
        chosen = [confidence.tolist().index(score) for score in best if score > 0]
        assert torch.equal(regions.boxes[image, : len(chosen)], heads.boxes[image][chosen])
        assert torch.equal(regions.features[image, : len(chosen)], heads.features[image][chosen])


def test_an_image_with_too_few_boxes_is_padded_and_masked() -> None:
    regions = RegionSelection(RegionSelectionSpec(method="per_class_loop", iou=0.3, regions=8))(classified(3, 20))
    assert regions.features.shape == (2, 8, 2048)
    assert regions.mask.tolist() == [[True] * 3 + [False] * 5, [True] * 8]
    assert not regions.features[0, 3:].any()
    assert not regions.boxes[0, 3:].any()

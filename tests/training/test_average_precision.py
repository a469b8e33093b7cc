"""Average precision by hand, and against the area that its definition sums up."""

from __future__ import annotations

import math

import pytest
import torch

from vlbench.training.detection_losses import Detections, average_precision


def detected(*objects: tuple[float, int, float]) -> Detections:
    """Boxes of 10x10 at a position along a line, each with a class and a score."""
    return Detections(
        boxes=torch.tensor([[x, 0.0, x + 10, 10.0] for x, _, _ in objects]).reshape(-1, 4),
        classes=torch.tensor([label for _, label, _ in objects], dtype=torch.long),
        scores=torch.tensor([score for _, _, score in objects]),
    )


def objects_at(*objects: tuple[float, int]) -> Detections:
    return detected(*((x, label, 1.0) for x, label in objects))


def test_the_truth_scores_one_and_nothing_scores_none() -> None:
    truth = [objects_at((0, 0), (50, 1)), objects_at((20, 0))]
    assert average_precision(truth, truth) == 1
    assert average_precision([detected(), detected()], truth) == 0
    assert math.isnan(average_precision([detected((0, 0, 1.0))], [objects_at()]))


def test_precision_is_the_highest_at_a_recall_or_beyond() -> None:
    """Ranked over both images: hit, miss, hit, hit; one of four objects is never detected.

    Precision at recall 1/4 is 1; at 2/4 and 3/4 it is 3/4, what the last hit reaches.
    """
    truth = [objects_at((0, 0), (50, 0)), objects_at((0, 0), (50, 0))]
    detections = [detected((0, 0, 0.9), (100, 0, 0.8)), detected((0, 0, 0.7), (50, 0, 0.6))]
    assert average_precision(detections, truth) == pytest.approx((1 + 0.75 + 0.75) / 4)


def test_classes_count_alike_and_those_that_do_not_occur_not_at_all() -> None:
    truth = [objects_at((0, 0), (20, 0), (40, 0), (60, 1))]
    detections = [detected((0, 0, 0.9), (20, 0, 0.9), (40, 0, 0.9), (60, 2, 0.9))]
    assert average_precision(detections, truth) == pytest.approx((1 + 0) / 2)


def test_an_object_is_detected_once() -> None:
    detections = [detected((0, 0, 0.8), (0, 0, 0.9), (50, 0, 0.7))]
    assert average_precision(detections, [objects_at((0, 0), (50, 0))]) == pytest.approx((1 + 2 / 3) / 2)


def test_a_box_whose_nearest_object_is_taken_takes_the_next() -> None:
    """Objects 3 apart: the second box overlaps the first object more, by 10/10, and the second one by 7/13."""
    detections = [detected((0, 0, 0.9), (0, 0, 0.8))]
    assert average_precision(detections, [objects_at((0, 0), (3, 0))]) == 1


@pytest.mark.parametrize(("shift", "expected"), [(3.3, 1.0), (3.4, 0.0)])
def test_half_of_the_union_is_the_limit(shift: float, expected: float) -> None:
    assert average_precision([detected((shift, 0, 0.9))], [objects_at((0, 0))]) == expected
    assert average_precision([detected((shift, 0, 0.9))], [objects_at((0, 0))], iou=0.55) == 0


def area_by_definition(detections: list[Detections], truth: list[Detections], label: int, iou: float) -> float:
    """Over every number k of objects the highest precision of any cut of the ranking that finds k of them."""
    ranked = sorted(
        (
            (score.item(), image, index)
            for image, seen in enumerate(detections)
            for index, score in enumerate(seen.scores)
        ),
        reverse=True,
    )
    ranked = [(image, index) for _, image, index in ranked if detections[image].classes[index] == label]
    objects = [
        (image, index)
        for image, objects_at in enumerate(truth)
        for index in torch.where(objects_at.classes == label)[0]
    ]
    taken, cuts = set(), []
    for count, (image, index) in enumerate(ranked, start=1):
        x1, y1, x2, y2 = detections[image].boxes[index].tolist()
        best = (iou, None)
        for other, target in objects:
            if other != image or (image, int(target)) in taken:
                continue
            u1, v1, u2, v2 = truth[image].boxes[target].tolist()
            shared = max(0.0, min(x2, u2) - max(x1, u1)) * max(0.0, min(y2, v2) - max(y1, v1))
            overlap = shared / ((x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared)
            if overlap >= best[0]:
                best = (overlap, int(target))
        if best[1] is not None:
            taken.add((image, best[1]))
        cuts.append((len(taken), len(taken) / count))
    total = len(objects)
    return sum(max((p for hits, p in cuts if hits >= k), default=0.0) for k in range(1, total + 1)) / total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou", [0.3, 0.6])
def test_it_is_the_area_that_its_definition_sums_up(seed: int, iou: float) -> None:
    generator = torch.Generator().manual_seed(seed)

    def random_detections(corners_N2: torch.Tensor, count: int) -> Detections:
        return Detections(
            boxes=torch.cat((corners_N2, corners_N2 + 12), dim=1),
            classes=torch.randint(3, (count,), generator=generator),
            scores=torch.rand(count, generator=generator),
        )

    truth, detections = [], []
    for _ in range(6):
        corners = torch.rand(6, 2, generator=generator) * 40
        truth.append(random_detections(corners, 6))
        detections.append(random_detections((corners + 2 * torch.randn(6, 2, generator=generator)).repeat(4, 1), 24))
    areas = [area_by_definition(detections, truth, label, iou) for label in range(3)]
    assert 0 < min(areas) <= max(areas) < 1
    assert average_precision(detections, truth, iou=iou) == pytest.approx(sum(areas) / 3)

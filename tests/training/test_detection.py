"""A detector learns: its losses fall, it finds the objects, and only its generator decides what is sampled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.roi_heads import RoIHeads

from vlbench.architectures.detector import encode
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.roi_heads import DELTA_WEIGHTS, Classified
from vlbench.specs import RegionSpec
from vlbench.training.budget import parse_budget
from vlbench.training.checkpoint import Interrupted
from vlbench.training.detection import DetectionSettings, DetectorLearner, LabelledImages, detect, detections_of
from vlbench.training.detection_losses import Detections, average_precision
from vlbench.training.learner import Losses, TrainingSettings
from vlbench.training.loop import train

SIDE, CLASSES = 64, 3
COLOURS = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]])
DETECTOR = {
    "kind": "region",
    "backbone": {"blocks": (1, 1), "base_width": 8, "norm": "trained"},
    "fpn": {"channels": 16},
    "rpn": {
        "channels": 16,
        "anchor_sizes": (16, 32, 64),
        "aspect_ratios": (1.0,),
        "candidates": 32,
        "proposals": 12,
        "nms_iou": 0.5,
    },
    "roi_head": {"kind": "fpn", "pool_size": 3, "width": 32, "classes": CLASSES},
    "nms": {"method": "class_agnostic", "iou": 0.5, "regions": 4},
    "projection": {"width": 32},
}
SETTINGS = DetectionSettings(anchors=64, regions=24, positive_regions=0.5)


pytestmark = pytest.mark.usefixtures("one_thread")


def embedder(**changes: object) -> RegionEmbedder:
    built = RegionEmbedder(RegionSpec.model_validate(DETECTOR | changes))
    initialise_random(built, 0)
    return built


def squares(count: int = 8, seed: int = 0) -> LabelledImages:
    """Images of one to three squares of 16 or 24 pixels, each in the colour of its class and in its own corner."""
    generator = torch.Generator().manual_seed(seed)
    pixels, boxes, classes = 0.2 * torch.randn(count, 3, SIDE, SIDE, generator=generator), [], []
    for image in pixels:
        number = int(torch.randint(1, 4, (), generator=generator))
        corners = torch.randperm(4, generator=generator)[:number]
        sides = torch.randint(2, 4, (number, 1), generator=generator) * 8
        starts = torch.stack((corners % 2, corners // 2), dim=1) * 32 + torch.randint(
            0, 8, (number, 2), generator=generator
        )
        boxes.append(torch.cat((starts, starts + sides), dim=1).float())
        classes.append(torch.randint(CLASSES, (number,), generator=generator))
        for (x1, y1, x2, y2), label in zip(boxes[-1].int().tolist(), classes[-1], strict=True):
            image[:, y1:y2, x1:x2] = COLOURS[label][:, None, None]
    return LabelledImages(images=Images(pixels=pixels, sizes=((SIDE, SIDE),) * count), boxes=boxes, classes=classes)


def truth(batch: LabelledImages) -> list[Detections]:
    return [
        Detections(boxes=boxes, classes=classes, scores=torch.ones(len(boxes)))
        for boxes, classes in zip(batch.boxes, batch.classes, strict=True)
    ]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_overfits_a_batch_and_detects_its_objects() -> None:
    visual, batch = embedder().train(), squares()
    learner = DetectorLearner(visual, SETTINGS)
    optimiser = torch.optim.AdamW(learner.module.parameters(), lr=5e-3)
    totals = []
    for step in range(100):
        losses = learner.losses(batch, seeded(step))
        assert losses.total.item() == pytest.approx(sum(part.item() for part in losses.parts.values()))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        totals.append(losses.total.item())
    assert totals[-1] < 0.2 * totals[0]
    visual.eval()
    assert average_precision(detect(visual, batch.images), truth(batch)) > 0.95
    regions = visual.regions(batch.images)
    classes_BR = visual.roi_head.classify(regions.features)[0].argmax(dim=2)
    for index, (boxes, classes) in enumerate(zip(batch.boxes, batch.classes, strict=True)):
        overlap = overlaps(boxes, regions.boxes[index])
        assert (overlap.amax(dim=1) > 0.5).all()
        assert torch.equal(classes_BR[index, overlap.argmax(dim=1)], classes)


def overlaps(ours: Tensor, others: Tensor) -> Tensor:
    """Intersection over union, (N, M)."""
    sides = torch.minimum(ours[:, None, 2:], others[None, :, 2:]) - torch.maximum(
        ours[:, None, :2], others[None, :, :2]
    )
    shared = sides.clamp(min=0).prod(dim=2)
    areas = [(some[:, 2:] - some[:, :2]).prod(dim=1) for some in (ours, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def test_all_of_the_detector_learns_and_the_projection_does_not() -> None:
    visual = embedder().train()
    learner = DetectorLearner(visual, SETTINGS)
    learner.losses(squares(), seeded()).total.backward()
    gradients = {name: parameter.grad is not None for name, parameter in visual.named_parameters()}
    assert {name.split(".")[0] for name, trained in gradients.items() if trained} == {
        "backbone",
        "fpn",
        "rpn",
        "roi_head",
    }
    assert all(trained for name, trained in gradients.items() if not name.startswith("projection."))
    assert dict(learner.module.named_parameters()).keys() == {name for name, trained in gradients.items() if trained}


def test_the_generator_alone_decides_the_sample() -> None:
    learner, batch = DetectorLearner(embedder().train(), SETTINGS), squares()
    first = learner.losses(batch, seeded(1)).parts
    torch.manual_seed(123)
    again, other = (learner.losses(batch, seeded(seed)).parts for seed in (1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["class"], other["class"])


def test_images_without_objects_are_all_background() -> None:
    batch = squares()
    empty = LabelledImages(
        images=batch.images,
        boxes=[torch.zeros(0, 4)] * len(batch.boxes),
        classes=[torch.zeros(0, dtype=torch.long)] * len(batch.boxes),
    )
    losses = DetectorLearner(embedder().train(), SETTINGS).losses(empty, seeded()).parts
    assert losses["proposal_box"] == losses["region_box"] == 0
    assert losses["objectness"] > 0
    assert losses["class"] > 0


def test_random_weights_have_the_losses_of_a_guess() -> None:
    """All scores near zero: log 2 for an object or none, log of classes and background for the class."""
    losses = DetectorLearner(embedder().train(), SETTINGS).losses(squares(), seeded()).parts
    assert losses["objectness"].item() == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=0.1)
    assert losses["class"].item() == pytest.approx(torch.log(torch.tensor(CLASSES + 1.0)).item(), abs=0.2)


def test_a_trained_detector_uses_its_own_boxes() -> None:
    visual = embedder()
    assert visual.rpn.inject_load
    DetectorLearner(visual)
    assert not visual.rpn.inject_load
    with pytest.raises(ValueError, match="boxes on a grid need no training"):
        DetectorLearner(of_a_grid())


def of_a_grid() -> RegionEmbedder:
    return embedder(
        grid_boxes=(2, 2),
        fpn=None,
        rpn=None,
        nms=None,
        backbone={"blocks": (1, 1, 1), "base_width": 8},
        roi_head={"kind": "c4", "base_width": 8, "blocks": 1},
    )


def test_a_c4_detector_trains_too() -> None:
    visual = embedder(
        fpn=None,
        backbone={"blocks": (1, 1, 1), "base_width": 8, "norm": "trained"},
        rpn=DETECTOR["rpn"] | {"anchor_sizes": (16, 32)},
        roi_head={"kind": "c4", "base_width": 8, "blocks": 1, "pool_size": 4, "classes": CLASSES},
    ).train()
    DetectorLearner(visual, SETTINGS).losses(squares(), seeded()).total.backward()
    assert visual.roi_head.res5[0].conv2.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("per_class", [True, False])
def test_detections_are_those_of_torchvision(per_class: bool) -> None:
    torch.manual_seed(0)
    proposals = torch.rand(60, 4) * 30
    proposals[:, 2:] += proposals[:, :2] + 5
    logits = 2 * torch.randn(60, CLASSES + 1)
    deltas = torch.randn(60, 4 * (CLASSES if per_class else 1))
    classified = Classified(boxes=[proposals], features=[], scores=[logits.softmax(1)[:, :-1]], deltas=[deltas])
    ours = detections_of(classified, 0, (50, 60), min_score=0.05, iou=0.5, max_detections=100)
    theirs = RoIHeads(None, None, None, 0.5, 0.5, 1, 0.25, None, 0.05, 0.5, 100)
    of_all = deltas if per_class else deltas.repeat(1, CLASSES)
    (boxes,), (scores,), (labels,) = theirs.postprocess_detections(
        logits.roll(1, dims=1), F.pad(of_all, (4, 0)), [proposals], [(50, 60)]
    )
    assert len(boxes) > 10
    torch.testing.assert_close(ours.scores, scores)
    torch.testing.assert_close(ours.boxes, boxes, atol=1e-3, rtol=1e-5)
    assert torch.equal(ours.classes, labels - 1)


def test_a_head_that_answers_its_targets_moves_a_proposal_onto_its_object() -> None:
    proposal, target = torch.tensor([[10.0, 10, 30, 40]]), torch.tensor([[12.0, 8, 36, 38]])
    deltas = encode(target, proposal) * torch.tensor(DELTA_WEIGHTS)
    classified = Classified(boxes=[proposal], features=[], scores=[torch.tensor([[0.1, 0.9]])], deltas=[deltas])
    (box,) = detections_of(classified, 0, (64, 64), min_score=0.5, iou=0.5, max_detections=9).boxes
    torch.testing.assert_close(box, target[0])


class Squares:
    """Sample i is an image of squares."""

    def batch(self, start: int, count: int) -> LabelledImages:
        return squares(count, seed=start)


def test_the_training_loop_trains_it_and_resumes_from_a_checkpoint(tmp_path: Path) -> None:
    """Of two runs of the same length, one is interrupted after its second step."""
    settings = TrainingSettings(budget=parse_budget("4 steps"), batch=4, point_steps=1, workers=0)
    whole = embedder()
    history = train(DetectorLearner(whole, SETTINGS), Squares(), settings, tmp_path / "whole").history
    assert set(history[0].loss_by_term) == {"objectness", "proposal_box", "class", "region_box"}
    with pytest.raises(Interrupted):
        train(Interrupting(embedder(), SETTINGS), Squares(), settings, tmp_path / "parted")
    parted = embedder()
    train(DetectorLearner(parted, SETTINGS), Squares(), settings, tmp_path / "parted")
    assert all(torch.equal(values, parted.state_dict()[name]) for name, values in whole.state_dict().items())
    assert not torch.equal(whole.rpn.conv.weight, embedder().rpn.conv.weight)


class Interrupting(DetectorLearner):
    """Presses Ctrl-C during its second pass."""

    passes = 0

    def losses(self, batch: LabelledImages, generator: torch.Generator) -> Losses:
        self.passes += 1
        if self.passes == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().losses(batch, generator)

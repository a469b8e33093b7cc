"""Trains the detector of a region model (Faster R-CNN, Ren et al. 2015), proposals and regions together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from vlbench.architectures.detector import RegionProposalNetwork, Scored, decode
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import DETECTOR, RegionEmbedder
from vlbench.architectures.roi_heads import DELTA_WEIGHTS, Classified
from vlbench.training.detection_losses import Detections, Sampled, match, proposal_losses, region_losses, sample
from vlbench.training.learner import Losses


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images and the objects in each, whose boxes lie within it and have an extent."""

    images: Images
    boxes: list[Tensor]  # each (T, 4) float32: x1, y1, x2, y2, in pixels
    classes: list[Tensor]  # each (T,) int64

    def to(self, device: torch.device) -> LabelledImages:
        """The same on a device."""
        return LabelledImages(
            images=Images(pixels=self.images.pixels.to(device), sizes=self.images.sizes),
            boxes=[some.to(device) for some in self.boxes],
            classes=[some.to(device) for some in self.classes],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """What is compared with what while a detector is trained.

    Attributes:
        anchors: sampled of each image, `positive_anchors` of them at most on an object (Faster R-CNN, section 3.1.3).
        anchor_iou: overlap from which an anchor is positive, and below which it is background (section 3.1.2).
        regions: sampled of each image's proposals and objects, `positive_regions` of them at most on an object (Fast
            R-CNN, section 2.3).
        region_iou: overlap from which a region is positive; below it is background.
        proposals: of each image that regions are sampled from; by default as many as the detector has in evaluation.
    """

    anchors: int = 256
    positive_anchors: float = 0.5
    anchor_iou: tuple[float, float] = (0.7, 0.3)
    regions: int = 512
    positive_regions: float = 0.25
    region_iou: float = 0.5
    proposals: int | None = None


class DetectorLearner:
    """The detector of a region embedder as a training loop sees it.

    From here on it hands on the proposals that it finds, no longer a fixed set in their place.

    Args:
        embedder: whose detector is trained, in training mode while it is; its projection is left alone.
        settings: of the training.

    Attributes:
        module: the parts with weights to train, under the names that they have in the embedder.
    """

    def __init__(self, embedder: RegionEmbedder, settings: DetectionSettings | None = None) -> None:
        if embedder.rpn is None or not isinstance(embedder.rpn, RegionProposalNetwork):
            raise ValueError("boxes on a grid need no training, and the layers of Detectron2 are not trained here")
        self.embedder = embedder
        self.settings = settings or DetectionSettings()
        parts = {name: part for name in DETECTOR if (part := getattr(embedder, name)) is not None}
        self.module = nn.ModuleDict(parts)
        embedder.trust_weights()

    def losses(self, batch: LabelledImages, generator: torch.Generator) -> Losses:
        """The sum of `detection_losses`, of a batch on any device."""
        here = batch.to(next(self.module.parameters()).device)
        parts = detection_losses(
            self.embedder, here.images, here.boxes, here.classes, settings=self.settings, generator=generator
        )
        return Losses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: part.detach() for name, part in parts.items()},
        )


def detection_losses(
    embedder: RegionEmbedder,
    images: Images,
    boxes: Sequence[Tensor],
    classes: Sequence[Tensor],
    *,
    settings: DetectionSettings,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """What a detector gets wrong in a batch, to be added up: objectness, proposal_box, class and region_box, each ().

    Args:
        embedder: in training mode.
        images: its input.
        boxes, classes: of the objects in each image, as in `LabelledImages`.
        settings: of the training.
        generator: on the CPU; all that is chosen at random comes from it.
    """
    assert embedder.rpn is not None
    features = embedder.feature_maps(images)
    scored = embedder.rpn.score(features)
    objectness, proposal_box = _of_proposals(scored, boxes, settings, generator)
    given = _proposals(embedder.rpn, scored, images, settings)
    chosen = [
        _regions(some, *objects, embedder.roi_head.classes, settings, generator)
        for some, objects in zip(given, zip(boxes, classes, strict=True), strict=True)
    ]
    logits_RC, deltas_RD = embedder.roi_head.classify(
        embedder.roi_head.pooled_features(features, [some.boxes for some in chosen])
    )
    of_class, region_box = region_losses(
        logits_RC,
        deltas_RD,
        torch.cat([some.boxes for some in chosen]),
        torch.cat([some.labels for some in chosen]),
        torch.cat([some.objects for some in chosen]),
    )
    return {"objectness": objectness, "proposal_box": proposal_box, "class": of_class, "region_box": region_box}


def _of_proposals(
    scored: Sequence[Scored], boxes: Sequence[Tensor], settings: DetectionSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    anchors_A4 = torch.cat([some.anchors for some in scored])
    foreground, background = settings.anchor_iou
    matched = [
        match(anchors_A4, some, foreground=foreground, background=background, each_object=True) for some in boxes
    ]
    sampled = [
        sample(some, count=settings.anchors, positive_share=settings.positive_anchors, generator=generator)
        for some in matched
    ]
    objectness_BA = torch.cat([some.objectness for some in scored], dim=1)
    deltas_BA4 = torch.cat([some.deltas for some in scored], dim=1)
    return proposal_losses(objectness_BA, deltas_BA4, anchors_A4, boxes, matched, sampled)


@torch.no_grad()
def _proposals(
    rpn: RegionProposalNetwork, scored: Sequence[Scored], images: Images, settings: DetectionSettings
) -> list[Tensor]:
    """Boxes of each image, (N, 4), that regions are sampled from; no gradient passes through them."""
    return rpn.propose(scored, images, most=settings.proposals).boxes


@dataclass(frozen=True, slots=True, kw_only=True)
class _SampledRegions:
    boxes: Tensor  # (R, 4) float32
    labels: Tensor  # (R,) int64, background the last
    objects: Tensor  # (R, 4) float32, zeros for background


def _regions(
    proposals_N4: Tensor,
    objects_T4: Tensor,
    classes_T: Tensor,
    background: int,
    settings: DetectionSettings,
    generator: torch.Generator,
) -> _SampledRegions:
    """Of the proposals and the objects themselves, so that some region is always positive."""
    boxes_N4 = torch.cat((proposals_N4, objects_T4))
    limit = settings.region_iou
    matched_N = match(boxes_N4, objects_T4, foreground=limit, background=limit, each_object=False)
    chosen: Sampled = sample(
        matched_N, count=settings.regions, positive_share=settings.positive_regions, generator=generator
    )
    answers_P = matched_N[chosen.positive]
    of_background = classes_T.new_full((len(chosen.negative),), background)
    return _SampledRegions(
        boxes=boxes_N4[chosen.both],
        labels=torch.cat((classes_T[answers_P], of_background)),
        objects=torch.cat((objects_T4[answers_P], boxes_N4[chosen.negative])),
    )


@torch.no_grad()
def detect(
    embedder: RegionEmbedder, images: Images, *, least_score: float = 0.05, iou: float = 0.5, most: int = 100
) -> list[Detections]:
    """The objects that a detector in evaluation mode sees in each image, best first (Faster R-CNN, section 3.2).

    These are boxes after the RoI head's own deltas; a model reads its regions as they were proposed.

    Args:
        embedder: with a detector that proposes and classifies boxes.
        images: its input.
        least_score: of a class, for a box to count.
        iou: overlap above which the lower of two boxes of one class goes.
        most: boxes of an image.
    """
    assert embedder.rpn is not None
    features = embedder.feature_maps(images)
    classified = embedder.roi_head(features, embedder.rpn(features, images).boxes)
    return [
        _objects(classified, index, size, least_score=least_score, iou=iou, most=most)
        for index, size in enumerate(images.sizes)
    ]


def _objects(
    classified: Classified, index: int, size: tuple[int, int], *, least_score: float, iou: float, most: int
) -> Detections:
    scores_NC, proposals_N4 = classified.scores[index], classified.boxes[index]
    deltas_NK4 = classified.deltas[index].float().unflatten(1, (-1, 4)) / scores_NC.new_tensor(DELTA_WEIGHTS)
    moved_NK4 = clip_boxes_to_image(decode(deltas_NK4, proposals_N4[:, None]), size)
    places, classes = torch.where(scores_NC > least_score)
    boxes = moved_NK4.expand(-1, scores_NC.shape[1], -1)[places, classes]
    scores = scores_NC[places, classes]
    kept = batched_nms(boxes, scores, classes, iou)[:most]
    return Detections(boxes=boxes[kept], classes=classes[kept], scores=scores[kept])

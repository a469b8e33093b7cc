"""Trains the detector of a region model, its proposals and regions jointly (Faster R-CNN, Ren et al. 2015)."""

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
from vlbench.training.detection_losses import Detections, match, proposal_losses, region_losses, sample
from vlbench.training.learner import Losses


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images and the objects in each. Boxes lie inside their image and are not empty."""

    images: Images
    boxes: list[Tensor]  # each (T, 4) float32: x1, y1, x2, y2, in pixels
    classes: list[Tensor]  # each (T,) int64

    def to(self, device: torch.device) -> LabelledImages:
        """A copy on a device."""
        return LabelledImages(
            images=Images(pixels=self.images.pixels.to(device, non_blocking=True), sizes=self.images.sizes),
            boxes=[boxes_T4.to(device, non_blocking=True) for boxes_T4 in self.boxes],
            classes=[classes_T.to(device, non_blocking=True) for classes_T in self.classes],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """Which anchors and regions a detector is trained on.

    Attributes:
        anchors: number sampled per image (Faster R-CNN, section 3.1.3).
        positive_anchors: largest share of them that is positive.
        anchor_iou: an anchor is positive from the first overlap on, and background below the second (section 3.1.2).
        regions: number sampled per image from its proposals and objects (Fast R-CNN, section 2.3).
        positive_regions: largest share of them that is positive.
        region_iou: a region is positive from this overlap on, and background below it.
        proposals: number per image from which regions are sampled; by default as many as in evaluation.
    """

    anchors: int = 256
    positive_anchors: float = 0.5
    anchor_iou: tuple[float, float] = (0.7, 0.3)
    regions: int = 512
    positive_regions: float = 0.25
    region_iou: float = 0.5
    proposals: int | None = None


class DetectorLearner:
    """Trains the detector of a region embedder.

    From then on the embedder uses the detector's own proposals instead of a fixed set.

    Args:
        embedder: its detector is trained, its projection is not. It must be in training mode.
        settings: which anchors and regions are used.

    Attributes:
        module: the trained parts, under their names in the embedder.
    """

    def __init__(self, embedder: RegionEmbedder, settings: DetectionSettings | None = None) -> None:
        if embedder.rpn is None or not isinstance(embedder.rpn, RegionProposalNetwork):
            raise ValueError("boxes on a grid need no training, and layers of Detectron2 cannot be trained here")
        self.embedder = embedder
        self.settings = settings or DetectionSettings()
        parts = {name: part for name in DETECTOR if (part := getattr(embedder, name)) is not None}
        self.module = nn.ModuleDict(parts)
        embedder.trust_weights()

    def losses(self, batch: LabelledImages, generator: torch.Generator) -> Losses:
        """The sum of `detection_losses`, for a batch on any device."""
        on_device = batch.to(next(self.module.parameters()).device)
        parts = detection_losses(self.embedder, on_device, settings=self.settings, generator=generator)
        return Losses(
            total=torch.stack(list(parts.values())).sum(),
            parts={name: part.detach() for name, part in parts.items()},
        )


def detection_losses(
    embedder: RegionEmbedder, batch: LabelledImages, *, settings: DetectionSettings, generator: torch.Generator
) -> dict[str, Tensor]:
    """The losses objectness, proposal_box, class and region_box of a batch, each (); training minimises their sum.

    Args:
        embedder: in training mode.
        batch: on the embedder's device.
        settings: which anchors and regions are used.
        generator: a CPU generator, for the sampling of both.
    """
    assert embedder.rpn is not None
    features = embedder.feature_maps(batch.images)
    by_level = embedder.rpn.score(features)
    objectness, proposal_box = _proposal_losses(by_level, batch.boxes, settings, generator)
    with torch.no_grad():
        proposals = embedder.rpn.propose(by_level, batch.images, most=settings.proposals).boxes
    sampled = [
        _sampled_regions(proposals_N4, objects_T4, classes_T, embedder.roi_head.classes, settings, generator)
        for proposals_N4, objects_T4, classes_T in zip(proposals, batch.boxes, batch.classes, strict=True)
    ]
    logits_RC, deltas_RD = embedder.roi_head.classify(
        embedder.roi_head.pooled_features(features, [regions.boxes for regions in sampled])
    )
    class_loss, region_box = region_losses(
        logits_RC,
        deltas_RD,
        torch.cat([regions.boxes for regions in sampled]),
        torch.cat([regions.labels for regions in sampled]),
        torch.cat([regions.objects for regions in sampled]),
    )
    return {"objectness": objectness, "proposal_box": proposal_box, "class": class_loss, "region_box": region_box}


def _proposal_losses(
    by_level: Sequence[Scored], boxes: Sequence[Tensor], settings: DetectionSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Objectness and box loss of the proposal network, from its output at each level of the pyramid."""
    anchors_A4 = torch.cat([level.anchors for level in by_level])
    foreground, background = settings.anchor_iou
    matched = [
        match(anchors_A4, boxes_T4, foreground=foreground, background=background, each_object=True)
        for boxes_T4 in boxes
    ]
    sampled = [
        sample(matched_A, count=settings.anchors, positive_share=settings.positive_anchors, generator=generator)
        for matched_A in matched
    ]
    objectness_BA = torch.cat([level.objectness for level in by_level], dim=1)
    deltas_BA4 = torch.cat([level.deltas for level in by_level], dim=1)
    return proposal_losses(objectness_BA, deltas_BA4, anchors_A4, boxes, matched, sampled)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SampledRegions:
    boxes: Tensor  # (R, 4) float32
    labels: Tensor  # (R,) int64, the last class is background
    objects: Tensor  # (R, 4) float32, the matched object's box; the region's own box for background


def _sampled_regions(
    proposals_N4: Tensor,
    objects_T4: Tensor,
    classes_T: Tensor,
    background: int,
    settings: DetectionSettings,
    generator: torch.Generator,
) -> _SampledRegions:
    """Regions sampled from the proposals and the objects themselves, so that at least one is positive."""
    boxes_N4 = torch.cat((proposals_N4, objects_T4))
    threshold = settings.region_iou
    matched_N = match(boxes_N4, objects_T4, foreground=threshold, background=threshold, each_object=False)
    chosen = sample(matched_N, count=settings.regions, positive_share=settings.positive_regions, generator=generator)
    objects_P = matched_N[chosen.positive]
    background_labels = classes_T.new_full((len(chosen.negative),), background)
    return _SampledRegions(
        boxes=boxes_N4[chosen.both],
        labels=torch.cat((classes_T[objects_P], background_labels)),
        objects=torch.cat((objects_T4[objects_P], boxes_N4[chosen.negative])),
    )


@torch.no_grad()
def detect(
    embedder: RegionEmbedder, images: Images, *, min_score: float = 0.05, iou: float = 0.5, max_detections: int = 100
) -> list[Detections]:
    """The objects that a detector in evaluation mode detects in each image, best first (Faster R-CNN, section 3.2).

    Their boxes are refined by the RoI head; the regions that a model reads are the proposals.

    Args:
        embedder: with a detector that proposes and classifies boxes.
        images: its input.
        min_score: class score above which a box is kept.
        iou: overlap above which the lower-scoring of two boxes of one class is dropped.
        max_detections: number of boxes per image.
    """
    assert embedder.rpn is not None
    features = embedder.feature_maps(images)
    classified = embedder.roi_head(features, embedder.rpn(features, images).boxes)
    return [
        detections_of(classified, index, size, min_score=min_score, iou=iou, max_detections=max_detections)
        for index, size in enumerate(images.sizes)
    ]


def detections_of(
    classified: Classified, index: int, size: tuple[int, int], *, min_score: float, iou: float, max_detections: int
) -> Detections:
    """The detections of one image, from the RoI head's output for its proposals. Arguments as of `detect`."""
    scores_NC, proposals_N4 = classified.scores[index], classified.boxes[index]
    deltas_NK4 = classified.deltas[index].float().unflatten(1, (-1, 4)) / scores_NC.new_tensor(DELTA_WEIGHTS)
    refined_NK4 = clip_boxes_to_image(decode(deltas_NK4, proposals_N4[:, None]), size)
    indices, classes = torch.where(scores_NC > min_score)
    boxes = refined_NK4.expand(-1, scores_NC.shape[1], -1)[indices, classes]
    scores = scores_NC[indices, classes]
    kept = batched_nms(boxes, scores, classes, iou)[:max_detections]
    return Detections(boxes=boxes[kept], classes=classes[kept], scores=scores[kept])

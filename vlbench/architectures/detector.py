"""Faster R-CNN from torchvision's parts: the region proposal network and the C4 head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes, roi_align, roi_pool

from vlbench.architectures.resnet import initialise_convolutions, res5
from vlbench.architectures.tokens import Images

AT_ONCE_ON_CPU = 16  # regions through res5: 0.65 of the time of all 300, with the same bits, and 1.4 GiB less
LARGEST_LOG_SCALE = math.log(1000 / 16)  # a box grows to at most 62.5 times its anchor (Faster R-CNN's released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """Boxes of each image, best first, in pixels, and how many went into the RPN's own suppression."""

    boxes: list[Tensor]  # each (N, 4) float32: x1, y1, x2, y2
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What the RoI head says of each image's N proposals; background is the last class and left out of `scores`."""

    boxes: list[Tensor]  # each (N, 4) float32
    scores: list[Tensor]  # each (N, classes) float32
    features: list[Tensor]  # each (N, 2048)
    deltas: list[Tensor]  # each (N, 4 * classes), or (N, 4) where class-agnostic


class RegionProposalNetwork(nn.Module):
    """Scores anchors, moves the best and keeps those that overlap least (Faster R-CNN, section 3.1).

    With random weights few proposals may survive. `inject_load` then has the network do all its work and hand on a
    fixed set of boxes of the declared number in place of its own.

    Args:
        inputs: channels of the feature map.
        stride: pixels of the image a cell of the feature map stands for.
        channels: width of the 3x3 convolution; 512 in bottom-up attention, as many as `inputs` in Detectron2.
        anchor_sizes, aspect_ratios: side in pixels and height / width of the anchors at each cell.
        candidates: boxes that go into suppression; `proposals`: boxes that leave it, at most.
        nms_iou: overlap above which the lower of two boxes goes.
        min_box_size: shortest side, in pixels, of a box that is kept.
    """

    def __init__(
        self,
        *,
        inputs: int,
        stride: int,
        channels: int,
        anchor_sizes: Sequence[int],
        aspect_ratios: Sequence[float],
        candidates: int,
        proposals: int,
        nms_iou: float,
        min_box_size: float,
    ) -> None:
        super().__init__()
        self.shapes = anchor_shapes(anchor_sizes, aspect_ratios)
        self.conv = nn.Conv2d(inputs, channels, kernel_size=3, padding=1)
        self.objectness = nn.Conv2d(channels, len(self.shapes), kernel_size=1)
        self.deltas = nn.Conv2d(channels, 4 * len(self.shapes), kernel_size=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stride = stride
        self.candidates = candidates
        self.proposals = proposals
        self.nms_iou = nms_iou
        self.min_box_size = min_box_size
        self.inject_load = False
        self._injected: tuple[tuple, list[Tensor]] = ((), [])
        self._anchors: tuple[tuple, Tensor] = ((), torch.empty(0, device="cpu"))

    def forward(self, features_BCHW: Tensor, images: Images) -> Proposals:
        hidden = torch.relu(self.conv(features_BCHW))
        objectness_BA = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1).float()
        deltas = self.deltas(hidden).permute(0, 2, 3, 1).reshape(len(images.sizes), -1, 4).float()
        if features_BCHW.is_meta:  # without values no box survives or falls: the declared number goes on
            return Proposals(boxes=self._declared_boxes(images), candidates=self.candidates)
        best = objectness_BA.topk(min(self.candidates, objectness_BA.shape[1]), dim=1)
        anchors_A4 = self._anchors_over(features_BCHW)
        boxes, counts = [], []
        for index, size in enumerate(images.sizes):
            chosen = best.indices[index]
            moved = clip_boxes_to_image(decode(deltas[index, chosen], anchors_A4[chosen]), size)
            large = remove_small_boxes(moved, self.min_box_size)
            moved, scores = moved[large], best.values[index, large]
            boxes.append(moved[nms(moved, scores, self.nms_iou)[: self.proposals]])
            counts.append(len(moved))
        if self.inject_load:
            boxes = self._declared_boxes(images)
        return Proposals(boxes=boxes, candidates=min(counts))

    def expected_candidates(self, features_height: int, features_width: int) -> int:
        """Boxes into suppression when no anchor is dropped for being small."""
        anchors = self.objectness.out_channels * features_height * features_width
        return min(self.candidates, anchors)

    def _anchors_over(self, features_BCHW: Tensor) -> Tensor:
        """Anchors of all cells, row by row, (H * W * shapes, 4) float32; kept from one pass to the next."""
        height, width = features_BCHW.shape[-2:]
        key = (height, width, features_BCHW.device)
        if self._anchors[0] != key:
            anchors = anchors_on_grid(self.shapes, height, width, self.stride)
            self._anchors = (key, anchors.to(features_BCHW.device))
        return self._anchors[1]

    def _declared_boxes(self, images: Images) -> list[Tensor]:
        key = (images.sizes, images.pixels.device)
        if self._injected[0] != key:
            boxes = [spread_boxes(self.proposals, *size).to(images.pixels.device) for size in images.sizes]
            self._injected = (key, boxes)
        return self._injected[1]

    def initialise_random(self, generator: torch.Generator) -> None:
        for layer in (self.conv, self.objectness, self.deltas):
            layer.weight.normal_(0, 0.01, generator=generator)
            layer.bias.zero_()  # type: ignore[union-attr]
        self.inject_load = True


class C4RoIHead(nn.Module):
    """Pools each proposal from the feature map, runs res5 on it and classifies the mean (He et al. 2016, appendix A).

    Args:
        pooling: `roi_align` (aligned, adaptive sampling, as Detectron2's C4) or `roi_pool` (bottom-up attention).
        pool_size: side of the pooled window; with stride 2, res5 halves it.
        stride_of_features: pixels of the image a cell of the feature map stands for.
        blocks, stride, dilation, stride_in: of res5.
        classes: object classes, without background.
        box_regression: `per_class` or `class_agnostic`.
    """

    def __init__(
        self,
        *,
        pooling: str,
        pool_size: int,
        stride_of_features: int,
        blocks: int,
        stride: int,
        dilation: int,
        stride_in: str,
        classes: int,
        box_regression: str,
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.pool_size = pool_size
        self.scale = 1 / stride_of_features
        self.res5 = res5(blocks=blocks, stride=stride, dilation=dilation, stride_in=stride_in)
        self.classifier = nn.Linear(2048, classes + 1)
        self.box_regressor = nn.Linear(2048, 4 * classes if box_regression == "per_class" else 4)

    def forward(self, features_BCHW: Tensor, boxes: list[Tensor]) -> Classified:
        features_RC = self._features(features_BCHW, boxes)
        scores_RC = self.classifier(features_RC).float().softmax(dim=1)[:, :-1]
        counts = [len(some) for some in boxes]
        return Classified(
            boxes=boxes,
            scores=list(scores_RC.split(counts)),
            features=list(features_RC.split(counts)),
            deltas=list(self.box_regressor(features_RC).split(counts)),
        )

    def _features(self, features_BCHW: Tensor, boxes: list[Tensor]) -> Tensor:
        """(all proposals, 2048): a CPU takes them some at a time, so that they stay in its cache."""
        wide = features_BCHW.float().contiguous()  # as the pooling operators want it; not all know half precision
        image_and_box_R5 = torch.cat(
            [torch.cat((some.new_full((len(some), 1), index), some), dim=1) for index, some in enumerate(boxes)]
        )
        share = AT_ONCE_ON_CPU if wide.device.type == "cpu" else max(1, len(image_and_box_R5))
        return torch.cat(
            [
                self.res5(self._pool(wide, part).to(features_BCHW.dtype, memory_format=torch.channels_last)).mean(
                    (2, 3)
                )
                for part in image_and_box_R5.split(share)
            ]
        )

    def _pool(self, wide_BCHW: Tensor, image_and_box_R5: Tensor) -> Tensor:
        """(R, C, pool_size, pool_size)"""
        if self.pooling == "roi_pool":
            return roi_pool(wide_BCHW, image_and_box_R5, self.pool_size, self.scale)
        return roi_align(wide_BCHW, image_and_box_R5, self.pool_size, self.scale, sampling_ratio=0, aligned=True)

    def initialise_random(self, generator: torch.Generator) -> None:
        initialise_convolutions(self.res5, generator)
        for layer, std in ((self.classifier, 0.01), (self.box_regressor, 0.001)):
            layer.weight.normal_(0, std, generator=generator)
            layer.bias.zero_()


def anchor_shapes(sizes: Sequence[int], ratios: Sequence[float]) -> list[tuple[float, float]]:
    """Width and height of each anchor, ratio by ratio within each size; ratio = height / width at equal area."""
    return [(size / ratio**0.5, size * ratio**0.5) for size in sizes for ratio in ratios]


def anchors_on_grid(shapes: Sequence[tuple[float, float]], height: int, width: int, stride: int) -> Tensor:
    """One anchor of each shape around every multiple of `stride`, (height * width * shapes, 4) float32."""
    around_zero = torch.tensor([(-w / 2, -h / 2, w / 2, h / 2) for w, h in shapes], device="cpu")
    y, x = torch.meshgrid(
        torch.arange(height, device="cpu") * stride, torch.arange(width, device="cpu") * stride, indexing="ij"
    )
    corners = torch.stack((x, y, x, y), dim=-1).reshape(-1, 1, 4)
    return (corners + around_zero).reshape(-1, 4)


def decode(deltas_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """Moves and scales anchors (R-CNN, appendix C): (dx, dy, dw, dh) onto (x1, y1, x2, y2)."""
    sizes = anchors_N4[:, 2:] - anchors_N4[:, :2]
    centres = anchors_N4[:, :2] + 0.5 * sizes + deltas_N4[:, :2] * sizes
    half = 0.5 * sizes * deltas_N4[:, 2:].clamp(max=LARGEST_LOG_SCALE).exp()
    return torch.cat((centres - half, centres + half), dim=1)


def spread_boxes(count: int, height: int, width: int) -> Tensor:
    """`count` boxes of all sizes and places within an image, the same each time, (count, 4) float32."""
    generator = torch.Generator().manual_seed(count)
    extent = torch.tensor([width, height], dtype=torch.float32)
    smallest = min(16.0 / min(height, width), 0.5)
    share = smallest ** torch.rand(count, 2, generator=generator)  # log-uniform from `smallest` to the whole side
    corner = torch.rand(count, 2, generator=generator) * (1 - share)
    return torch.cat((corner * extent, (corner + share) * extent), dim=1)

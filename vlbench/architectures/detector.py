"""The boxes that a Faster R-CNN looks at: from anchors and the region proposal network, or from a fixed grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, nms, remove_small_boxes

from vlbench.architectures.interfaces import Images
from vlbench.specs import RegionProposalSpec

LARGEST_LOG_SCALE = math.log(1000 / 16)  # a box grows to at most 62.5 times its anchor (Faster R-CNN's released code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposals:
    """Boxes of each image, best first, and how many went into the RPN's suppression."""

    boxes: list[Tensor]  # each (N, 4) float32: x1, y1, x2, y2
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The RPN's output for every anchor of one feature map, row by row."""

    objectness: Tensor  # (B, A) float32, before the sigmoid
    deltas: Tensor  # (B, A, 4) float32
    anchors: Tensor  # (A, 4) float32, in pixels


class DeclaredBoxes:
    """A fixed set of boxes for each image, made once for a batch's sizes and reused.

    Args:
        count: boxes in an image.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: tuple[tuple, list[Tensor]] = ((), [])

    def over(self, images: Images) -> list[Tensor]:
        """Each (count, 4) float32, in pixels."""
        key = (images.sizes, images.pixels.device)
        if self._kept[0] != key:
            self._kept = (key, [spread_boxes(self.count, *size).to(images.pixels.device) for size in images.sizes])
        return self._kept[1]


class RegionProposalNetwork(nn.Module):
    """Scores anchors, moves the best and keeps those that overlap least (Faster R-CNN, section 3.1; FPN, section 4.1).

    With random weights few proposals may survive. With `inject_load` the network does all its work, then passes on a
    fixed set of boxes of the declared number instead of its own.

    Args:
        spec: describes it.
        inputs: channels of the feature maps.
        strides: pixels of the image per cell of each feature map.
    """

    convertible_methods = ("predict",)
    stays_eager = "selects boxes by their scores"

    def __init__(self, spec: RegionProposalSpec, *, inputs: int, strides: Sequence[int]) -> None:
        super().__init__()
        sizes = [list(spec.anchor_sizes)] if len(strides) == 1 else [[size] for size in spec.anchor_sizes]
        self.strides = tuple(strides)
        self.shapes = [anchor_shapes(level, spec.aspect_ratios) for level in sizes]
        per_cell = len(self.shapes[0])
        self.conv = nn.Conv2d(inputs, spec.channels, kernel_size=3, padding=1)
        self.objectness = nn.Conv2d(spec.channels, per_cell, kernel_size=1)
        self.deltas = nn.Conv2d(spec.channels, 4 * per_cell, kernel_size=1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.candidates = spec.candidates
        self.proposals = spec.proposals
        self.nms_iou = spec.nms_iou
        self.min_box_size = spec.min_box_size
        self.inject_load = False
        self._declared = DeclaredBoxes(spec.proposals)
        self._anchors: dict[int, tuple[tuple, Tensor]] = {}

    def forward(self, features: Sequence[Tensor], images: Images) -> Proposals:
        return self.propose(self.score(features), images)

    def score(self, features: Sequence[Tensor]) -> list[Scored]:
        """Its output for the anchors of each feature map."""
        return [
            Scored(objectness=objectness_BA, deltas=deltas_BA4, anchors=self._anchors_over(level, features_BCHW))
            for level, features_BCHW in enumerate(features)
            for objectness_BA, deltas_BA4 in [self.predict(features_BCHW)]
        ]

    def predict(self, features_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Objectness, (B, A) float32, and deltas, (B, A, 4) float32, of the anchors of one feature map."""
        hidden = torch.relu(self.conv(features_BCHW))
        objectness_BA = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1).float()
        deltas_BA4 = self.deltas(hidden).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)).float()
        return objectness_BA, deltas_BA4

    def propose(self, scored: Sequence[Scored], images: Images, *, most: int | None = None) -> Proposals:
        """The best anchors of each image, moved and suppressed; at most `most`, by default `proposals`."""
        levels = [self._moved_anchors(some) for some in scored]
        if scored[0].objectness.is_meta:  # without values nothing is suppressed: the declared number is passed on
            return Proposals(boxes=self._declared.over(images), candidates=self.candidates)
        boxes_BN4 = torch.cat([boxes for boxes, _ in levels], dim=1)
        scores_BN = torch.cat([scores for _, scores in levels], dim=1)
        level_N = torch.cat(
            [torch.full_like(scores[0], index, dtype=torch.long) for index, (_, scores) in enumerate(levels)]
        )
        boxes, counts = [], []
        for index, size in enumerate(images.sizes):
            moved = clip_boxes_to_image(boxes_BN4[index], size)
            large = remove_small_boxes(moved, self.min_box_size)
            moved, scores = moved[large], scores_BN[index, large]
            if len(levels) == 1:
                kept = nms(moved, scores, self.nms_iou)
            else:
                kept = batched_nms(moved, scores, level_N[large], self.nms_iou)
            boxes.append(moved[kept[: most or self.proposals]])
            counts.append(len(moved))
        if self.inject_load:
            boxes = self._declared.over(images)
        return Proposals(boxes=boxes, candidates=min(counts))

    def _moved_anchors(self, scored: Scored) -> tuple[Tensor, Tensor]:
        """The best anchors of one feature map after their deltas, (B, N, 4), and their scores, (B, N), best first."""
        batch, anchors = scored.objectness.shape
        best = scored.objectness.topk(min(self.candidates, anchors), dim=1)
        chosen_BN4 = best.indices[:, :, None].expand(-1, -1, 4)
        anchors_BN4 = scored.anchors.expand(batch, -1, -1).gather(1, chosen_BN4)
        return decode(scored.deltas.gather(1, chosen_BN4), anchors_BN4), best.values

    def expected_candidates(self, height: int, width: int) -> int:
        """How many boxes go into suppression for an image of this size in pixels, if none is dropped for its size."""
        cells = [math.ceil(height / stride) * math.ceil(width / stride) for stride in self.strides]
        return sum(min(self.candidates, self.objectness.out_channels * some) for some in cells)

    def _anchors_over(self, level: int, features_BCHW: Tensor) -> Tensor:
        """Anchors of all cells, row by row, (H * W * shapes, 4) float32; reused for the same size."""
        height, width = features_BCHW.shape[-2:]
        key = (height, width, features_BCHW.device)
        if level not in self._anchors or self._anchors[level][0] != key:
            anchors = anchors_on_grid(self.shapes[level], height, width, self.strides[level])
            self._anchors[level] = (key, anchors.to(features_BCHW.device))
        return self._anchors[level][1]

    def initialise_random(self, generator: torch.Generator) -> None:
        for layer in (self.conv, self.objectness, self.deltas):
            layer.weight.normal_(0, 0.01, generator=generator)
            layer.bias.zero_()  # type: ignore[union-attr]
        self.inject_load = True


class GridBoxes(nn.Module):
    """The cells of a fixed grid over each image, in place of proposals (X-LXMERT, Cho et al. 2020).

    Args:
        rows, columns: of the grid.
    """

    def __init__(self, *, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self._boxes: tuple[tuple, list[Tensor]] = ((), [])

    def forward(self, images: Images) -> list[Tensor]:
        """Boxes of each image, row by row, each (rows * columns, 4) float32 in pixels."""
        key = (images.sizes, images.pixels.device)
        if self._boxes[0] != key:
            self._boxes = (key, [self._cells(*size).to(images.pixels.device) for size in images.sizes])
        return self._boxes[1]

    def _cells(self, height: int, width: int) -> Tensor:
        y = torch.linspace(0, height, self.rows + 1, device="cpu")
        x = torch.linspace(0, width, self.columns + 1, device="cpu")
        top, left = torch.meshgrid(y[:-1], x[:-1], indexing="ij")
        bottom, right = torch.meshgrid(y[1:], x[1:], indexing="ij")
        return torch.stack((left, top, right, bottom), dim=-1).reshape(-1, 4)


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
    """Moves and scales anchors (R-CNN, appendix C): (dx, dy, dw, dh) onto (x1, y1, x2, y2), in the last dimension."""
    sizes = anchors_N4[..., 2:] - anchors_N4[..., :2]
    centres = anchors_N4[..., :2] + 0.5 * sizes + deltas_N4[..., :2] * sizes
    half = 0.5 * sizes * deltas_N4[..., 2:].clamp(max=LARGEST_LOG_SCALE).exp()
    return torch.cat((centres - half, centres + half), dim=-1)


def encode(boxes_N4: Tensor, anchors_N4: Tensor) -> Tensor:
    """The deltas from which `decode` gets these boxes: (dx, dy, dw, dh), (N, 4). Boxes must have an area."""
    sizes, extents = (some[..., 2:] - some[..., :2] for some in (anchors_N4, boxes_N4))
    shifts = (boxes_N4[..., :2] + 0.5 * extents - anchors_N4[..., :2] - 0.5 * sizes) / sizes
    return torch.cat((shifts, (extents / sizes).log()), dim=-1)


def spread_boxes(count: int, height: int, width: int) -> Tensor:
    """`count` boxes of all sizes and places within an image, the same each time, (count, 4) float32."""
    generator = torch.Generator().manual_seed(count)
    extent = torch.tensor([width, height], dtype=torch.float32)
    smallest = min(16.0 / min(height, width), 0.5)
    share = smallest ** torch.rand(count, 2, generator=generator)  # log-uniform from `smallest` to the whole side
    corner = torch.rand(count, 2, generator=generator) * (1 - share)
    return torch.cat((corner * extent, (corner + share) * extent), dim=1)

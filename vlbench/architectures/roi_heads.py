"""RoI heads of a Faster R-CNN: C4, and the feature pyramid with its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align, roi_pool

from vlbench.architectures.resnet import initialise_convolutions, res5
from vlbench.specs import C4HeadSpec, FeaturePyramidSpec, FpnHeadSpec

Boxes = TypeVar("Boxes")

MOST_VALUES = 2**30  # torchvision's kernels count outputs and index inputs in 32 bits: past 2**31 outputs stay zero
AT_ONCE = 1024  # boxes that any device but a CPU pools at once
AT_ONCE_ON_CPU = 16  # regions through res5: 0.65 of the time of all 300, with the same bits, and 1.4 GiB less
DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # a box delta is the head's output over these (Faster R-CNN's released code)
FINEST = 2  # level of a pyramid, which has a quarter of the image's sides (FPN, section 4.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The RoI head's output for each image's N boxes; `scores` leaves out the background, the last class.

    `scores` and `deltas` are empty for a head without classes.
    """

    boxes: list[Tensor]  # each (N, 4) float32
    features: list[Tensor]  # each (N, C)
    scores: list[Tensor]  # each (N, classes) float32
    deltas: list[Tensor]  # each (N, 4 * classes), or (N, 4) where class-agnostic


class RoIHead(nn.Module):
    """Features of every box, then class scores and box deltas from them; a subclass computes a box's feature."""

    convertible_methods = ("embed", "classify")
    stays_eager = "pools boxes of any number"

    def __init__(self, spec: C4HeadSpec | FpnHeadSpec) -> None:
        super().__init__()
        self.classifier = nn.Linear(spec.channels, spec.classes + 1) if spec.classes else None
        outputs = 4 * (spec.classes or 0) if spec.box_regression == "per_class" else 4
        self.box_regressor = nn.Linear(spec.channels, outputs) if spec.classes else None

    @property
    def classes(self) -> int:
        """Object classes, without background; 0 without a classifier."""
        return self.classifier.out_features - 1 if self.classifier else 0

    def forward(self, features: Sequence[Tensor], boxes: list[Tensor]) -> Classified:
        features_RC = self.pooled_features(features, boxes)
        counts = [len(some) for some in boxes]
        by_image = list(features_RC.split(counts))
        if self.classifier is None or self.box_regressor is None:
            return Classified(boxes=boxes, features=by_image, scores=[], deltas=[])
        logits_RC, deltas_RC = self.classify(features_RC)
        scores_RC = logits_RC.softmax(dim=1)[:, :-1]
        return Classified(
            boxes=boxes, features=by_image, scores=list(scores_RC.split(counts)), deltas=list(deltas_RC.split(counts))
        )

    def classify(self, features_RC: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of the classes before the softmax, background last, (R, classes + 1) float32, and box deltas."""
        assert self.classifier is not None
        assert self.box_regressor is not None
        return self.classifier(features_RC).float(), self.box_regressor(features_RC)

    def embed(self, pooled_RCHW: Tensor) -> Tensor:
        """The features of pooled boxes, (R, C)."""
        raise NotImplementedError

    def pooled_features(self, features: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """(all boxes, C)"""
        return pool_by_images(self._pooled_features, features, boxes)

    def _pooled_features(self, features: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """The same for as many images as a kernel can index."""
        raise NotImplementedError

    def initialise_random(self, generator: torch.Generator) -> None:
        for layer, std in ((self.classifier, 0.01), (self.box_regressor, 0.001)):
            if layer is not None:
                layer.weight.normal_(0, std, generator=generator)
                layer.bias.zero_()


class C4RoIHead(RoIHead):
    """Pools each box from the feature map, runs res5 on it and classifies the mean (He et al. 2016, appendix A).

    Args:
        spec: describes it.
        inputs: channels of the feature map.
        feature_stride: pixels of the image per cell of the feature map.
        stride_in: the convolution of res5's first bottleneck that takes its stride, as in the trunk.
    """

    def __init__(self, spec: C4HeadSpec, *, inputs: int, feature_stride: int, stride_in: str) -> None:
        super().__init__(spec)
        self.pooling = spec.pooling
        self.pool_size = spec.pool_size
        self.scale = 1 / feature_stride
        self.res5 = res5(spec, inputs=inputs, stride_in=stride_in)
        self.mean = nn.AdaptiveAvgPool2d(1)

    def _pooled_features(self, features: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        """(all boxes, channels): a CPU takes so few at a time that they stay in its cache."""
        (features_BCHW,) = features
        wide = features_BCHW.float().contiguous()  # as the pooling operators want it; not all know half precision
        at_once = boxes_at_once(wide, self.pool_size, on_cpu=AT_ONCE_ON_CPU)
        return torch.cat(
            [
                self.embed(self._pool(wide, part).to(features_BCHW.dtype, memory_format=torch.channels_last))
                for part in with_image_index(boxes).split(at_once)
            ]
        )

    def embed(self, pooled_RCHW: Tensor) -> Tensor:
        return self.mean(self.res5(pooled_RCHW)).flatten(1)

    def _pool(self, wide_BCHW: Tensor, image_and_box_R5: Tensor) -> Tensor:
        """(R, C, pool_size, pool_size)"""
        if self.pooling == "roi_pool":
            return roi_pool(wide_BCHW, image_and_box_R5, self.pool_size, self.scale)
        return roi_align(wide_BCHW, image_and_box_R5, self.pool_size, self.scale, sampling_ratio=0, aligned=True)

    def initialise_random(self, generator: torch.Generator) -> None:
        initialise_convolutions(self.res5, generator)
        super().initialise_random(generator)


class FeaturePyramid(nn.Module):
    """Gives every stage of a trunk the same width and the context of the coarser ones (FPN, section 3).

    Args:
        spec: describes it.
        inputs: channels of each stage, res2 first.
    """

    def __init__(self, spec: FeaturePyramidSpec, *, inputs: Sequence[int]) -> None:
        super().__init__()
        channels = spec.channels
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, kernel_size=1) for width in inputs)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in inputs)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A level for each stage, P2 first, and one more of every second cell of the last, for large anchors."""
        merged = self.lateral[-1](features[-1])
        levels = [self.output[-1](merged)]
        for lateral, output, finer in zip(self.lateral[-2::-1], self.output[-2::-1], features[-2::-1], strict=True):
            merged = lateral(finer) + F.interpolate(merged, size=finer.shape[-2:], mode="nearest")
            levels.insert(0, output(merged))
        return [*levels, levels[-1][:, :, ::2, ::2]]

    def initialise_random(self, generator: torch.Generator) -> None:
        for layer in (*self.lateral, *self.output):
            layer.weight.normal_(0, layer.weight[0].numel() ** -0.5, generator=generator)
            layer.bias.zero_()


class FpnRoIHead(RoIHead):
    """Pools each box from the level of its size and runs two linear layers on it (FPN, section 4.2).

    Args:
        spec: describes it.
        inputs: channels of a level.
        strides: pixels of the image per cell of each level, P2 first; boxes use all levels but the last.
    """

    def __init__(self, spec: FpnHeadSpec, *, inputs: int, strides: Sequence[int]) -> None:
        super().__init__(spec)
        self.scales = [1 / stride for stride in strides[:-1]]
        self.pool_size = spec.pool_size
        self.mlp = nn.Sequential(
            nn.Linear(inputs * spec.pool_size**2, spec.width), nn.ReLU(), nn.Linear(spec.width, spec.width), nn.ReLU()
        )

    def _pooled_features(self, features: Sequence[Tensor], boxes: list[Tensor]) -> Tensor:
        image_and_box_R5 = with_image_index(boxes)
        if features[0].is_meta:  # without values no box has a size: all are pooled from one level
            return self.embed(self._pool(features[0], image_and_box_R5, self.scales[0]))
        level_R = levels_of(torch.cat(boxes), coarsest=FINEST + len(self.scales) - 1)
        pooled = features[0].new_empty(len(image_and_box_R5), features[0].shape[1], self.pool_size, self.pool_size)
        for level, (some, scale) in enumerate(zip(features, self.scales, strict=False), start=FINEST):
            (chosen,) = torch.where(level_R == level)
            pooled = pooled.index_copy(0, chosen, self._pool(some, image_and_box_R5[chosen], scale))
        return self.embed(pooled)

    def embed(self, pooled_RCHW: Tensor) -> Tensor:
        return self.mlp(pooled_RCHW.flatten(1))

    def _pool(self, features_BCHW: Tensor, image_and_box_R5: Tensor, scale: float) -> Tensor:
        def pool(wide_BCHW: Tensor, part_R5: Tensor) -> Tensor:
            pooled = roi_align(wide_BCHW, part_R5, self.pool_size, scale, sampling_ratio=0, aligned=True)
            return pooled.to(features_BCHW.dtype)

        return pool_in_parts(pool, features_BCHW.float().contiguous(), image_and_box_R5, self.pool_size)

    def initialise_random(self, generator: torch.Generator) -> None:
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, (2 / layer.in_features) ** 0.5, generator=generator)
        super().initialise_random(generator)


def boxes_at_once(features_BCHW: Tensor, size: int, *, on_cpu: int = MOST_VALUES) -> int:
    """How many boxes to pool to `size` x `size` in one call, whose outputs torchvision's kernels can still count."""
    countable = max(1, MOST_VALUES // (features_BCHW.shape[1] * size**2))
    return min(countable, on_cpu if features_BCHW.device.type == "cpu" else AT_ONCE)


def pool_in_parts(
    pool: Callable[[Tensor, Tensor], Tensor], features_BCHW: Tensor, image_and_box_R5: Tensor, size: int
) -> Tensor:
    """All boxes pooled by `pool`, which takes `boxes_at_once` in a call, (R, C, size, size)."""
    at_once = boxes_at_once(features_BCHW, size)
    if len(image_and_box_R5) <= at_once:
        return pool(features_BCHW, image_and_box_R5)
    return torch.cat([pool(features_BCHW, part) for part in image_and_box_R5.split(at_once)])


def pool_by_images(
    pool: Callable[[list[Tensor], list[Boxes]], Tensor], features: Sequence[Tensor], boxes: list[Boxes]
) -> Tensor:
    """All images' boxes pooled by `pool`, which takes as many images in a call as torchvision's kernels can index."""
    at_once = max(1, MOST_VALUES // max(math.prod(some.shape[1:]) for some in features))
    if len(boxes) <= at_once:
        return pool(list(features), boxes)
    groups = [slice(start, start + at_once) for start in range(0, len(boxes), at_once)]
    return torch.cat([pool([some[group] for some in features], boxes[group]) for group in groups])


def levels_of(boxes_R4: Tensor, *, coarsest: int = 5) -> Tensor:
    """The level of each box, from 2: one of 224x224 pixels is of P4, one of half the side of P3 (FPN, equation 1)."""
    sides = ((boxes_R4[:, 2:] - boxes_R4[:, :2]).clamp(min=0).prod(dim=1)).sqrt()
    return (4 + torch.log2(sides / 224 + 1e-8)).floor().clamp(FINEST, coarsest).long()


def with_image_index(boxes: list[Tensor]) -> Tensor:
    """Boxes of all images, each behind the index of its image, (R, 5)."""
    return torch.cat([F.pad(some, (1, 0), value=float(index)) for index, some in enumerate(boxes)])

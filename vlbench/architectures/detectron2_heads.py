"""What Detectron2 does with each box: the C4 head, and the head over a pyramid."""

from __future__ import annotations

from typing import Any

from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BottleneckBlock, ResNet
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.roi_heads import Classified, pool_by_images, pool_in_parts

Maps = dict[str, Tensor]

LEVELS = ("p2", "p3", "p4", "p5", "p6")


class Detectron2RoIHead(nn.Module):
    """Detectron2's pooling, its layers on each pooled box, and its predictor.

    Args:
        pooler: of boxes from the maps called `levels`.
        predictor: None for a head without classes.
    """

    def __init__(self, *, levels: tuple[str, ...], pooler: ROIPooler, predictor: FastRCNNOutputLayers | None) -> None:
        super().__init__()
        self.levels = levels
        self.pooler = pooler
        self.box_predictor = predictor

    @property
    def classes(self) -> int:
        """Object classes, without background; 0 without a predictor."""
        return self.box_predictor.num_classes if self.box_predictor is not None else 0

    def forward(self, maps: Maps, boxes: list[Tensor]) -> Classified:
        features = [maps[name] for name in self.levels]
        features_RC = self.pooled_features(pool_by_images(self.pooler, features, [Boxes(some) for some in boxes]))
        counts = [len(some) for some in boxes]
        by_image = list(features_RC.split(counts))
        if self.box_predictor is None:
            return Classified(boxes=boxes, features=by_image, scores=[], deltas=[])
        logits_RC, deltas_RC = self.box_predictor(features_RC)
        scores_RC = logits_RC.softmax(dim=1)[:, :-1]
        return Classified(
            boxes=boxes, features=by_image, scores=list(scores_RC.split(counts)), deltas=list(deltas_RC.split(counts))
        )

    def pooled_features(self, pooled_RCHW: Tensor) -> Tensor:
        """(all boxes, C)"""
        raise NotImplementedError


class Detectron2C4Head(Detectron2RoIHead):
    """Runs res5 on every region and takes the mean, as Detectron2's Res5ROIHeads."""

    def __init__(self, *, res5: nn.Sequential, **parts: Any) -> None:
        super().__init__(**parts)
        self.res5 = res5

    def pooled_features(self, pooled_RCHW: Tensor) -> Tensor:
        return self.res5(pooled_RCHW).mean(dim=[2, 3])


class PyramidRoIHead(Detectron2RoIHead):
    """Two linear layers on every region, as Detectron2's StandardROIHeads."""

    def __init__(self, *, box_head: FastRCNNConvFCHead, **parts: Any) -> None:
        super().__init__(**parts)
        self.box_head = box_head

    def pooled_features(self, pooled_RCHW: Tensor) -> Tensor:
        return self.box_head(pooled_RCHW)


def c4_head(head: specs.C4HeadSpec, backbone: specs.ResNetSpec) -> Detectron2C4Head:
    res5 = ResNet.make_stage(
        BottleneckBlock,
        head.blocks,
        in_channels=backbone.channels,
        out_channels=head.channels,
        bottleneck_channels=head.groups * (8 * head.group_width * head.base_width // 64),
        stride_per_block=[head.stride] + [1] * (head.blocks - 1),
        num_groups=head.groups,
        norm="FrozenBN",
        stride_in_1x1=backbone.stride_in == "1x1",
        dilation=head.dilation,
    )
    return Detectron2C4Head(
        levels=("res4",),
        pooler=_pooler(head.pool_size, (backbone.stride,), head.pooling),
        predictor=_predictor(head.channels, head),
        res5=nn.Sequential(*res5),
    )


def pyramid_head(head: specs.FpnHeadSpec, fpn: specs.FeaturePyramidSpec) -> PyramidRoIHead:
    shape = ShapeSpec(channels=fpn.channels, height=head.pool_size, width=head.pool_size)
    return PyramidRoIHead(
        levels=LEVELS[:4],
        pooler=_pooler(head.pool_size, (4, 8, 16, 32), "roi_align"),
        predictor=_predictor(head.width, head),
        box_head=FastRCNNConvFCHead(shape, conv_dims=[], fc_dims=[head.width, head.width]),
    )


class PooledInParts(nn.Module):
    """Detectron2's pooling from one level, of no more boxes in a call than torchvision's kernel can count."""

    def __init__(self, pooling: nn.Module, size: int) -> None:
        super().__init__()
        self.pooling = pooling
        self.size = size

    def forward(self, features_BCHW: Tensor, image_and_box_R5: Tensor) -> Tensor:
        return pool_in_parts(self.pooling, features_BCHW, image_and_box_R5, self.size)


def _pooler(size: int, strides: tuple[int, ...], pooling: str) -> ROIPooler:
    kind = "ROIPool" if pooling == "roi_pool" else "ROIAlignV2"
    pooler = ROIPooler(size, scales=tuple(1 / stride for stride in strides), sampling_ratio=0, pooler_type=kind)
    pooler.level_poolers = nn.ModuleList(PooledInParts(each, size) for each in pooler.level_poolers)
    return pooler


def _predictor(channels: int, head: specs.C4HeadSpec | specs.FpnHeadSpec) -> FastRCNNOutputLayers | None:
    if not head.classes:
        return None
    return FastRCNNOutputLayers(
        ShapeSpec(channels=channels),
        box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
        num_classes=head.classes,
        cls_agnostic_bbox_reg=head.box_regression == "class_agnostic",
    )

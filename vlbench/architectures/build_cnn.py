"""Builds the visual embedders that see with a ResNet: grids, regions, and CLIP's own.

They alone need torchvision, which takes as long to import as PyTorch itself, so nothing else imports this module at its
top.
"""

from __future__ import annotations

from types import ModuleType

from vlbench import specs
from vlbench.architectures import clip_resnet, grid, region
from vlbench.architectures.detector import GridBoxes, RegionProposalNetwork
from vlbench.architectures.interfaces import VisualEmbedder
from vlbench.architectures.nms import RegionSelection
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import C4RoIHead, FeaturePyramid, FpnRoIHead, RoIHead
from vlbench.errors import SpecError
from vlbench.specs.base import cannot_import


def build_convolutional(
    spec: specs.GridSpec | specs.MeanFeatureSpec | specs.RegionSpec | specs.ClipResNetSpec, images: int = 1
) -> VisualEmbedder:
    """The embedder of a spec whose kind is `grid`, `mean_feature`, `region` or `clip_resnet`."""
    if isinstance(spec, specs.RegionSpec):
        return _region(spec, images)
    if isinstance(spec, specs.ClipResNetSpec):
        return clip_resnet.ClipResNet(**spec.arguments())
    return _grid(spec)


def _grid(spec: specs.GridSpec | specs.MeanFeatureSpec) -> grid.GridEmbedder:
    projection: grid.PixelProjection | grid.MeanProjection
    if isinstance(spec, specs.MeanFeatureSpec):
        projection = grid.MeanProjection(inputs=spec.backbone.channels, width=spec.width)
    else:
        projection = grid.PixelProjection(
            inputs=spec.projection_inputs or spec.backbone.channels,
            pool_size=spec.pool_size,
            width=spec.width,
            sampled_pixels=spec.sampled_pixels,
            sample=spec.sample,
        )
    return grid.GridEmbedder(backbone=ResNetTrunk(**spec.backbone.arguments()), projection=projection)


def _region(spec: specs.RegionSpec, images: int) -> region.RegionEmbedder:
    backbone, fpn = spec.backbone, spec.fpn
    channels, strides = fpn.channels if fpn else backbone.channels, spec.strides
    arguments = spec.projection.arguments() | {"inputs": spec.projection.inputs or spec.roi_head.channels}
    arguments["image_types"] = images
    return region.RegionEmbedder(
        backbone=ResNetTrunk(**backbone.arguments(), every_stage=fpn is not None),
        fpn=FeaturePyramid(inputs=backbone.stage_channels, **fpn.arguments()) if fpn else None,
        rpn=RegionProposalNetwork(inputs=channels, strides=strides, **spec.rpn.arguments()) if spec.rpn else None,
        grid_boxes=GridBoxes(rows=spec.grid_boxes[0], columns=spec.grid_boxes[1]) if spec.grid_boxes else None,
        roi_head=_roi_head(spec, channels, strides),
        nms=RegionSelection(**spec.nms.arguments()) if spec.nms else None,
        projection=region.RegionProjection(**arguments),
    )


def through_engine(spec: specs.RegionSpec, built: region.RegionEmbedder) -> region.RegionEmbedder:
    """The embedder in the engine's layers, with the same weights.

    Raises InputError where the engine is absent or cannot run such a detector.
    """
    if spec.engine == "torchvision":
        return built
    stages = len(spec.backbone.blocks)
    if spec.fpn and stages != 4:
        raise SpecError(f"engine detectron2: its pyramid needs res2 to res5, but backbone.blocks has {stages} stages")
    return detectron2_engine().through_detectron2(spec, built)  # type: ignore[no-any-return]


def detectron2_engine() -> ModuleType:
    """Raises InputError where Detectron2 cannot be imported."""
    try:
        from vlbench.architectures import detectron2  # noqa: PLC0415  few have it, and it is slow
    except ImportError as error:
        raise cannot_import("", str(error)) from error
    return detectron2


def _roi_head(spec: specs.RegionSpec, channels: int, strides: tuple[int, ...]) -> RoIHead:
    if isinstance(spec.roi_head, specs.FpnHeadSpec):
        return FpnRoIHead(inputs=channels, strides=strides, **spec.roi_head.arguments())
    return C4RoIHead(
        inputs=channels,
        stride_of_features=strides[0],
        stride_in=spec.backbone.stride_in,
        **spec.roi_head.arguments(),
    )

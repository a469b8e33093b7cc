"""Detectron2's own R101-C4, built in code without its model zoo, with our weights copied in. Needs detectron2."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.detector import spread_boxes
from vlbench.architectures.interfaces import Images


class Peer:
    """GeneralizedRCNN.inference in three steps, cut before the suppression; the boxes of our RPN's load are its RoIs.

    Args:
        visual: the detector to build, as our catalogue has it.
        ours: a RegionEmbedder, whose weights it gets.
        images: what it will read.
    """

    def __init__(self, visual: specs.RegionSpec, ours: Any, images: Images) -> None:
        assert visual.rpn is not None
        self.model = build(visual, weights_for_detectron2(ours))
        self.listed = ImageList(images.pixels, list(images.sizes))
        self.declared = [
            Instances(extent, proposal_boxes=Boxes(spread_boxes(visual.rpn.proposals, *extent)))
            for extent in images.sizes
        ]

    def backbone(self, pixels_B3HW: Tensor) -> dict[str, Tensor]:
        return self.model.backbone(pixels_B3HW)

    def own_proposals(self, maps: dict[str, Tensor]) -> list[Tensor]:
        """What the RPN itself finds in each image, (M, 4)."""
        found, _ = self.model.proposal_generator(self.listed, maps)
        return [some.proposal_boxes.tensor for some in found]

    def rpn(self, maps: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[Instances]]:
        """All the work of the RPN, then the declared boxes, as our `inject_load` has it."""
        self.model.proposal_generator(self.listed, maps)
        return maps, self.declared

    def roi_head(self, given: tuple[dict[str, Tensor], list[Instances]]) -> tuple[Tensor, Tensor, Tensor]:
        """Features, probabilities (the last is background) and deltas of all boxes, as Res5ROIHeads computes them."""
        maps, proposals = given
        head = self.model.roi_heads
        pooled = head._shared_roi_transform([maps["res4"]], [some.proposal_boxes for some in proposals])
        features = pooled.mean(dim=[2, 3])
        predictions = head.box_predictor(features)
        return features, head.box_predictor.predict_probs(predictions, proposals)[0], predictions[1]


def build(visual: specs.RegionSpec, weights: dict[str, Tensor]) -> Any:
    """A GeneralizedRCNN that holds `weights`. Raises ValueError where one is missing or unknown."""
    model = build_model(config(visual)).eval()
    found = model.load_state_dict(weights, strict=False)
    missing = [name for name in found.missing_keys if "anchor_generator" not in name and "pixel_" not in name]
    if missing or found.unexpected_keys:
        raise ValueError(f"weights missing: {missing}; unknown: {found.unexpected_keys}")
    return model


def config(visual: specs.RegionSpec) -> CfgNode:
    """Detectron2's R101-C4 of the same sizes, in code, without its model zoo."""
    assert visual.rpn is not None
    settings = get_cfg()
    settings.MODEL.DEVICE = "cpu"
    settings.MODEL.WEIGHTS = ""
    settings.MODEL.MASK_ON = False
    settings.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
    settings.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    settings.MODEL.RESNETS.DEPTH = 101
    settings.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    settings.MODEL.RESNETS.NORM = "FrozenBN"
    settings.MODEL.RESNETS.STRIDE_IN_1X1 = visual.backbone.stride_in == "1x1"
    settings.MODEL.ANCHOR_GENERATOR.SIZES = [list(visual.rpn.anchor_sizes)]
    settings.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(visual.rpn.aspect_ratios)]
    settings.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = visual.rpn.min_box_size
    settings.MODEL.RPN.IN_FEATURES = ["res4"]
    settings.MODEL.RPN.CONV_DIMS = [visual.rpn.channels]
    settings.MODEL.RPN.NMS_THRESH = visual.rpn.nms_iou
    settings.MODEL.RPN.PRE_NMS_TOPK_TEST = visual.rpn.candidates
    settings.MODEL.RPN.POST_NMS_TOPK_TEST = visual.rpn.proposals
    settings.MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
    settings.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    settings.MODEL.ROI_HEADS.NUM_CLASSES = visual.roi_head.classes
    settings.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignV2"
    settings.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = visual.roi_head.pool_size
    settings.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0
    return settings


def weights_for_detectron2(ours: Any) -> dict[str, Tensor]:
    """Our weights under Detectron2's names, every one that it has but the pixel statistics."""
    theirs: dict[str, Tensor] = {}

    def convolution(name: str, conv: nn.Module, norm: nn.Module) -> None:
        theirs[f"{name}.weight"] = conv.weight  # type: ignore[assignment]
        for kind in ("weight", "bias", "running_mean", "running_var"):
            theirs[f"{name}.norm.{kind}"] = getattr(norm, kind)

    def stage(name: str, blocks: Any) -> None:
        for index, block in enumerate(blocks):
            for number in (1, 2, 3):
                conv, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
                convolution(f"{name}.{index}.conv{number}", conv, norm)
            if block.downsample is not None:
                convolution(f"{name}.{index}.shortcut", *block.downsample)

    convolution("backbone.stem.conv1", ours.backbone.stem[0], ours.backbone.stem[1])
    for number, blocks in enumerate(ours.backbone.stages, start=2):
        stage(f"backbone.res{number}", blocks)
    stage("roi_heads.res5", ours.roi_head.res5)
    layers = {
        "proposal_generator.rpn_head.conv": ours.rpn.conv,
        "proposal_generator.rpn_head.objectness_logits": ours.rpn.objectness,
        "proposal_generator.rpn_head.anchor_deltas": ours.rpn.deltas,
        "roi_heads.box_predictor.cls_score": ours.roi_head.classifier,
        "roi_heads.box_predictor.bbox_pred": ours.roi_head.box_regressor,
    }
    for name, layer in layers.items():
        theirs |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return {name: values.contiguous() for name, values in theirs.items()}

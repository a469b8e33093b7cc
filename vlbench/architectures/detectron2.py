"""The region embedder through Detectron2's own layers, built without its configuration files or its model zoo.

Nothing else imports this module at its top: Detectron2 need not be installed. Its detector has the same steps as ours,
and under the same names the same weights, so `state_dict` of one engine loads into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.backbone import FPN, Backbone, BasicStem, BottleneckBlock, ResNet
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.rpn import RPN, StandardRPNHead
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench import specs
from vlbench.architectures.checkpoints.detectron2_names import C4_NAMES, COUNTER, FPN_NAMES, Renaming
from vlbench.architectures.detector import DeclaredBoxes, Proposals
from vlbench.architectures.detectron2_heads import LEVELS, Maps, c4_head, pyramid_head
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder

KEEPS_EMPTY = -1.0  # Detectron2 asks for sides longer than this, ours and torchvision's for sides no shorter
PYRAMID_STRIDE = 32  # Detectron2 pads images to a multiple of it in front of a pyramid
NORMS = {"frozen": "FrozenBN", "trained": "BN"}
OF_GENERALIZED_RCNN = {  # its parts here, the first that fits
    "backbone.bottom_up.": "backbone.",
    "backbone.fpn_": "fpn.fpn_",
    "proposal_generator.": "rpn.",
    "roi_heads.": "roi_head.",
}


class Detectron2Embedder(RegionEmbedder):
    """A region embedder of Detectron2's parts, whose state dict has our names."""

    def __init__(self, spec: specs.RegionSpec, *, images: int = 1) -> None:
        super().__init__(spec, images=images)
        pairs = [(ours, _here(theirs)) for ours, theirs in (FPN_NAMES if self.fpn is not None else C4_NAMES)]
        pairs += [
            (ours.replace(".{p}", f".{COUNTER}"), theirs.replace(".{p}", f".{COUNTER}")) for ours, theirs in pairs
        ]
        to_theirs, to_ours = Renaming(pairs), Renaming([(theirs, ours) for ours, theirs in pairs])
        names = set(self.state_dict())

        def rename_saved(_: nn.Module, state: dict[str, Tensor], prefix: str, __: object) -> None:
            for name in [name for name in state if name.startswith(prefix)]:
                state[prefix + to_ours(name.removeprefix(prefix))] = state.pop(name)

        def rename_loaded(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
            for name in [name for name in state if name.startswith(prefix)]:
                values, theirs = state.pop(name), to_theirs(name.removeprefix(prefix))
                if theirs in names or not theirs.endswith(COUNTER):
                    state[prefix + theirs] = values

        self.register_state_dict_post_hook(rename_saved)
        self.register_load_state_dict_pre_hook(rename_loaded)

    @classmethod
    def like(cls, spec: specs.RegionSpec, embedder: RegionEmbedder) -> Detectron2Embedder:
        """The same embedder as another engine's, with its weights."""
        with torch.device("meta"):
            made = cls(spec, images=embedder.images)
        weights = {name: values.contiguous() for name, values in embedder.state_dict().items()}
        made.load_state_dict(weights, assign=True)
        if made.rpn is not None and embedder.rpn is not None:
            made.rpn.inject_load = embedder.rpn.inject_load
        made.load_extra_state(embedder.extra_state())
        return made

    def make_backbone(self, spec: specs.RegionSpec) -> Any:
        return _trunk(spec)

    def make_fpn(self, spec: specs.RegionSpec, fpn: specs.FeaturePyramidSpec) -> Any:
        return _pyramid(spec.backbone.stage_channels, fpn.channels)

    def make_rpn(self, spec: specs.RegionSpec, rpn: specs.RegionProposalSpec) -> Any:
        return _proposal_network(spec, rpn)

    def make_roi_head(self, spec: specs.RegionSpec) -> Any:
        if isinstance(spec.roi_head, specs.FpnHeadSpec):
            assert spec.fpn is not None
            return pyramid_head(spec.roi_head, spec.fpn)
        return c4_head(spec.roi_head, spec.backbone)


def _here(theirs: str) -> str:
    for before, after in OF_GENERALIZED_RCNN.items():
        if theirs.startswith(before):
            return after + theirs.removeprefix(before)
    return theirs


class Stem(BasicStem):
    """Detectron2's stem; `caffe_pool` pools as Caffe does, for weights that were trained so."""

    caffe_pool = False

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        if not self.caffe_pool:
            return super().forward(pixels_B3HW)
        return F.max_pool2d(F.relu_(self.conv1(pixels_B3HW)), kernel_size=3, stride=2, ceil_mode=True)


class Trunk(ResNet):
    """Detectron2's ResNet behind what Detectron2 does to the images of a batch.

    `multiple` is what both sides of the padded batch have to be a multiple of.
    """

    multiple = 1

    def forward(self, pixels_B3HW: Tensor) -> Maps:
        height, width = pixels_B3HW.shape[-2:]
        beyond = (0, -width % self.multiple, 0, -height % self.multiple)
        return super().forward(F.pad(pixels_B3HW, beyond) if any(beyond) else pixels_B3HW)

    @property
    def pools_as_caffe(self) -> bool:
        """Whether `pool_as_caffe` was called."""
        return bool(self.stem.caffe_pool)

    def pool_as_caffe(self) -> None:
        """Has the stem pool without padding, the last window cut off at the border."""
        self.stem.caffe_pool = True


def _trunk(spec: specs.RegionSpec) -> Trunk:
    backbone = spec.backbone
    stages = []
    for index, blocks in enumerate(backbone.blocks):
        stage = ResNet.make_stage(
            BottleneckBlock,
            blocks,
            in_channels=backbone.stage_channels[index - 1] if index else backbone.base_width,
            out_channels=backbone.stage_channels[index],
            bottleneck_channels=backbone.groups * (backbone.group_width * backbone.base_width * 2**index // 64),
            stride_per_block=[2 if index else 1] + [1] * (blocks - 1),
            num_groups=backbone.groups,
            norm=NORMS[backbone.norm],
            stride_in_1x1=backbone.stride_in == "1x1",
        )
        stages.append(stage)
    names = [f"res{index + 2}" for index in range(len(stages))]
    outputs = names if spec.fpn else names[-1:]
    stem = Stem(out_channels=backbone.base_width, norm=NORMS[backbone.norm])
    trunk = Trunk(stem, stages, out_features=outputs, freeze_at=backbone.frozen_stages)
    trunk.multiple = PYRAMID_STRIDE if spec.fpn else 1
    return trunk


class Given(Backbone):
    """Stands where Detectron2's pyramid would call its trunk, which is a step of its own here."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {f"res{n}": ShapeSpec(channels=width, stride=2**n) for n, width in enumerate(self.channels, start=2)}

    def forward(self, maps: Maps) -> Maps:
        return maps


def _pyramid(inputs: Sequence[int], channels: int) -> FPN:
    return FPN(Given(inputs), [f"res{n}" for n in range(2, 6)], channels, top_block=LastLevelMaxPool())


class ProposalNetwork(RPN):
    """Detectron2's RPN, which hands on the declared boxes once all its work is done where `inject_load` says so.

    It stays in evaluation mode: to train it would take labelled boxes.
    """

    inject_load = False

    def declare(self, proposals: int) -> None:
        self.proposals = proposals
        self._declared = DeclaredBoxes(proposals)

    def forward(self, maps: Maps, images: Images) -> Proposals:
        instances, _ = super().forward(ImageList(images.pixels, list(images.sizes)), maps)
        boxes = (
            self._declared.over(images)
            if self.inject_load
            else [instance.proposal_boxes.tensor for instance in instances]
        )
        cells = [maps[name].shape[-2] * maps[name].shape[-1] for name in self.in_features]
        return Proposals(boxes=boxes, candidates=self._candidates(cells))

    def expected_candidates(self, height: int, width: int) -> int:
        """Boxes into suppression for an image of this size in pixels when no anchor is dropped for being small."""
        return self._candidates(
            [-(-height // stride) * -(-width // stride) for stride in self.anchor_generator.strides]
        )

    def _candidates(self, cells: list[int]) -> int:
        most = self.pre_nms_topk[False]
        anchors = self.anchor_generator.num_anchors
        return sum(min(most, each * some) for each, some in zip(anchors, cells, strict=True))

    def train(self, mode: bool = True) -> ProposalNetwork:
        return super().train(False)


def _proposal_network(spec: specs.RegionSpec, rpn: specs.RegionProposalSpec) -> ProposalNetwork:
    sizes = [[size] for size in rpn.anchor_sizes] if spec.fpn else [list(rpn.anchor_sizes)]
    ratios = [list(rpn.aspect_ratios)]
    with torch.device("cpu"):
        anchors = DefaultAnchorGenerator(sizes=sizes, aspect_ratios=ratios, strides=spec.strides, offset=0.0)
    network = ProposalNetwork(
        in_features=list(LEVELS) if spec.fpn else ["res4"],
        head=StandardRPNHead(
            in_channels=spec.fpn.channels if spec.fpn else spec.backbone.channels,
            num_anchors=anchors.num_anchors[0],
            conv_dims=[rpn.channels],
        ),
        anchor_generator=anchors,
        anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_topk=(rpn.candidates, rpn.candidates),
        post_nms_topk=(rpn.proposals, rpn.proposals),
        nms_thresh=rpn.nms_iou,
        min_box_size=rpn.min_box_size or KEEPS_EMPTY,
    )
    network.declare(rpn.proposals)
    return network.eval()

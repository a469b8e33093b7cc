"""`VLModel`, the one interface, and `build(spec)`."""

from __future__ import annotations

from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures import (
    clip,
    clip_resnet,
    dual_stream,
    grid,
    heads,
    interaction,
    patch,
    region,
    similarity,
    text,
)
from vlbench.architectures.detector import GridBoxes, RegionProposalNetwork
from vlbench.architectures.initialise import initialise_random, without_default_weights
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.roi_heads import C4RoIHead, FeaturePyramid, FpnRoIHead, RoIHead
from vlbench.architectures.tokens import Images, Text
from vlbench.specs.visual import VisualPart


class VLModel(nn.Module):
    """A vision-and-language model in four stages, each a module: `text`, `visual`, `interaction`, `head`.

    Args:
        text: text embedder, or None for a model of images alone.
        visual: visual embedder; its own modules are the stages `visual.patch`, `visual.backbone` and so on.
        interaction: takes both kinds of tokens, gives joint tokens, or a score of each pair of text and image.
        head: takes joint tokens, gives logits or features; None behind an interaction that gives scores.
    """

    def __init__(
        self, *, text: nn.Module | None, visual: nn.Module, interaction: nn.Module, head: nn.Module | None
    ) -> None:
        super().__init__()
        self.text = text
        self.visual = visual
        self.interaction = interaction
        self.head = head

    def forward(self, text: Text | None, images: Images) -> Tensor:
        """Logits, features or scores of a batch. Raises ValueError where the model reads text and `text` is None."""
        text_tokens = None
        if self.text is not None:
            if text is None:
                raise ValueError("this model reads text; text is None")
            text_tokens = self.text(text)
        met = self.interaction(text_tokens, self.visual(images))
        return met if self.head is None else self.head(met)

    def stages(self) -> dict[str, nn.Module]:
        """Stages and, as `visual.NAME`, the steps within the visual embedder, in the order of the forward pass."""
        named = {name: getattr(self, name) for name in ("text", "visual", "interaction", "head")}
        steps = {f"visual.{name}": step for name, step in self.visual.named_children() if name in VISUAL_STEPS}
        order = {"text": named["text"], "visual": named["visual"], **steps}
        order |= {name: named[name] for name in ("interaction", "head")}
        return {name: module for name, module in order.items() if module is not None}

    @property
    def load(self) -> dict[str, int]:
        """What the last forward pass carried through a detector; empty for other models."""
        return self.visual.load if isinstance(self.visual, region.RegionEmbedder) else {}

    def declared_load(self, images: Images) -> dict[str, int]:
        """What it must carry; empty for models without a detector."""
        return self.visual.declared_load(images) if isinstance(self.visual, region.RegionEmbedder) else {}


VISUAL_STEPS = ("patch", "backbone", "fpn", "rpn", "roi_head", "nms", "transformer", "projection")


def build(spec: specs.ModelSpec) -> VLModel:
    """Builds a model with random weights under the spec's seed; within `torch.device("meta")` without any memory."""
    with without_default_weights():
        model = VLModel(
            text=_TEXTS[spec.text.kind](**spec.text.arguments()) if spec.text else None,
            visual=_visual(spec.visual),
            interaction=_INTERACTIONS[spec.interaction.kind](**spec.interaction.arguments()),
            head=_HEADS[spec.head.kind](**spec.head.arguments()) if spec.head else None,
        )
    initialise_random(model, spec.seed)
    return model


_TEXTS: dict[str, type[nn.Module]] = {
    "bert_embeddings": text.BertEmbeddings,
    "gru": text.Gru,
    "text_transformer": clip.TextTransformer,
}
_INTERACTIONS: dict[str, type[nn.Module]] = {
    "single_stream": interaction.SingleStream,
    "co_attention": dual_stream.CoAttention,
    "cross_modality": dual_stream.CrossModality,
    "dot_product": similarity.DotProduct,
    "stacked_cross_attention": similarity.StackedCrossAttention,
}
_HEADS: dict[str, type[nn.Module]] = {
    "pooled_feature": heads.PooledFeature,
    "itm": heads.ImageTextMatching,
    "itm_product": heads.PooledProduct,
    "vqa": heads.VisualQuestionAnswering,
}


_VISUALS: dict[str, type[nn.Module]] = {
    "patch": patch.PatchEmbedder,
    "vision_transformer": clip.VisionTransformer,
    "clip_resnet": clip_resnet.ClipResNet,
}


def _visual(spec: VisualPart) -> nn.Module:
    if isinstance(spec, specs.Grid | specs.MeanFeature):
        return _grid(spec)
    if isinstance(spec, specs.Region):
        return _region(spec)
    return _VISUALS[spec.kind](**spec.arguments())


def _grid(spec: specs.Grid | specs.MeanFeature) -> grid.GridEmbedder:
    projection: grid.PixelProjection | grid.MeanProjection
    if isinstance(spec, specs.MeanFeature):
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


def _region(spec: specs.Region) -> region.RegionEmbedder:
    backbone, fpn = spec.backbone, spec.fpn
    channels, strides = (fpn.channels, (4, 8, 16, 32, 64)) if fpn else (backbone.channels, (backbone.stride,))
    arguments = spec.projection.arguments() | {"inputs": spec.projection.inputs or spec.roi_head.channels}
    return region.RegionEmbedder(
        backbone=ResNetTrunk(**backbone.arguments(), every_stage=fpn is not None),
        fpn=FeaturePyramid(inputs=(256, 512, 1024, 2048), **fpn.arguments()) if fpn else None,
        rpn=RegionProposalNetwork(inputs=channels, strides=strides, **spec.rpn.arguments()) if spec.rpn else None,
        grid_boxes=GridBoxes(rows=spec.grid_boxes[0], columns=spec.grid_boxes[1]) if spec.grid_boxes else None,
        roi_head=_roi_head(spec, channels, strides),
        nms=region.RegionSelection(**spec.nms.arguments()) if spec.nms else None,
        projection=region.RegionProjection(**arguments),
    )


def _roi_head(spec: specs.Region, channels: int, strides: tuple[int, ...]) -> RoIHead:
    if isinstance(spec.roi_head, specs.FpnHead):
        return FpnRoIHead(inputs=channels, strides=strides, **spec.roi_head.arguments())
    return C4RoIHead(stride_of_features=strides[0], stride_in=spec.backbone.stride_in, **spec.roi_head.arguments())

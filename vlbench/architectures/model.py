"""`VLModel`, the one interface, and `build(spec)`."""

from __future__ import annotations

from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures import grid, heads, interaction, patch, region, text
from vlbench.architectures.detector import C4RoIHead, RegionProposalNetwork
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.resnet import ResNetTrunk
from vlbench.architectures.tokens import Images, Text


class VLModel(nn.Module):
    """A vision-and-language model in four stages, each a module: `text`, `visual`, `interaction`, `head`.

    Args:
        text: text embedder, or None for a model of images alone.
        visual: visual embedder; its own modules are the stages `visual.patch`, `visual.backbone` and so on.
        interaction: takes both kinds of tokens, gives joint tokens.
        head: takes joint tokens, gives logits or features.
    """

    def __init__(self, *, text: nn.Module | None, visual: nn.Module, interaction: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.text = text
        self.visual = visual
        self.interaction = interaction
        self.head = head

    def forward(self, text: Text | None, images: Images) -> Tensor:
        """Head's output for a batch. Raises ValueError where the model reads text and `text` is None."""
        text_tokens = None
        if self.text is not None:
            if text is None:
                raise ValueError("this model reads text; text is None")
            text_tokens = self.text(text)
        return self.head(self.interaction(text_tokens, self.visual(images)))

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


VISUAL_STEPS = ("patch", "backbone", "rpn", "roi_head", "nms", "projection")


def build(spec: specs.ModelSpec) -> VLModel:
    """Builds a model with random weights under the spec's seed; within `torch.device("meta")` without any memory."""
    model = VLModel(
        text=text.BertEmbeddings(**spec.text.arguments()) if spec.text else None,
        visual=_visual(spec.visual),
        interaction=interaction.SingleStream(**spec.interaction.arguments()),
        head=_HEADS[spec.head.kind](**spec.head.arguments()),
    )
    initialise_random(model, spec.seed)
    return model


_HEADS: dict[str, type[nn.Module]] = {
    "pooled_feature": heads.PooledFeature,
    "itm": heads.ImageTextMatching,
    "vqa": heads.VisualQuestionAnswering,
}


def _visual(spec: specs.Patch | specs.Grid | specs.Region) -> nn.Module:
    if isinstance(spec, specs.Patch):
        return patch.PatchEmbedder(**spec.arguments())
    trunk = ResNetTrunk(**spec.backbone.arguments())
    if isinstance(spec, specs.Grid):
        projection = grid.PixelProjection(
            inputs=spec.projection_inputs or trunk.channels,
            pool_size=spec.pool_size,
            width=spec.width,
            sampled_pixels=spec.sampled_pixels,
        )
        return grid.GridEmbedder(backbone=trunk, projection=projection)
    return region.RegionEmbedder(
        backbone=trunk,
        rpn=RegionProposalNetwork(inputs=trunk.channels, stride=trunk.stride, **spec.rpn.arguments()),
        roi_head=C4RoIHead(
            stride_of_features=trunk.stride, stride_in=spec.backbone.stride_in, **spec.roi_head.arguments()
        ),
        nms=region.RegionSelection(**spec.nms.arguments()),
        projection=region.RegionProjection(width=spec.width, dropout=spec.dropout, layer_norm_eps=spec.layer_norm_eps),
    )

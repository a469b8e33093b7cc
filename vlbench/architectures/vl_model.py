"""`VLModel`, the one interface: a vision-and-language model in four stages."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from vlbench.architectures.interfaces import (
    Head,
    Images,
    RegionFeatures,
    Text,
    Tokens,
    VisualEmbedder,
    merge_rows,
    repeat_rows,
)


class VLModel(nn.Module):
    """A vision-and-language model in four stages, each a module: `text`, `visual`, `interaction`, `head`.

    Args:
        text: text embedder, or None for a model of images alone.
        visual: visual embedder; its own modules are the stages `visual.patch`, `visual.backbone` and so on.
        interaction: takes both kinds of tokens, gives joint tokens, or a score of each pair of text and image.
        head: takes joint tokens, gives logits or features; None behind an interaction that gives scores.

    Behind a head of pairs (`Head.pairs`) a batch of B texts has 2B images, the left and the right of each in turn.

    Raises TypeError where the visual embedder has a child module that it does not declare.
    """

    def __init__(
        self, *, text: nn.Module | None, visual: VisualEmbedder, interaction: nn.Module, head: Head | None
    ) -> None:
        super().__init__()
        visual.timed_steps()
        self.text = text
        self.visual = visual
        self.interaction = interaction
        self.head = head
        self.missing_keys: tuple[str, ...] = ()  # tensors that the checkpoint of the whole model does not hold

    def forward(self, text: Text | None, images: Images | RegionFeatures) -> Tensor:
        """Logits, features or scores of a batch, one row per example.

        Regions in place of pixels reach the projection without a detector. Raises ValueError where the model reads text
        and `text` is None, or where it reads pixels and gets regions.
        """
        text_tokens = self.embed_text(text)
        return self.fuse(text_tokens, self.visual(images))

    def embed_text(self, text: Text | None) -> Tokens | None:
        """None for a model of images alone. Raises ValueError where the model reads text and `text` is None."""
        if self.text is None:
            return None
        if text is None:
            raise ValueError("this model reads text; text is None")
        embedded: Tokens = self.text(text)
        return embedded

    def fuse(self, text_tokens: Tokens | None, image_tokens: Tokens) -> Tensor:
        """The output of `forward`, given those of `embed_text` and `visual`: so one image serves many texts."""
        pairs = self.head.pairs if self.head is not None else None
        if pairs == "together":
            image_tokens = merge_rows(image_tokens, 2)
        elif pairs == "apart" and text_tokens is not None:
            text_tokens = repeat_rows(text_tokens, 2)
        joint = self.interaction(text_tokens, image_tokens)
        return joint if self.head is None else self.head(joint)

    def stages(self) -> dict[str, nn.Module]:
        """Stages and, as `visual.NAME`, the steps within the visual embedder, in the order of the forward pass."""
        steps = {f"visual.{name}": step for name, step in self.visual.timed_steps().items()}
        stages = {"text": self.text, "visual": self.visual, **steps, "interaction": self.interaction, "head": self.head}
        return {name: module for name, module in stages.items() if module is not None}

    @property
    def is_dual_encoder(self) -> bool:
        """Whether text and image are only compared, without layers that read both."""
        return self.head is None

    @property
    def output_name(self) -> str:
        """What `forward` gives: `logits`, `features` or, of each text with each image, `scores`."""
        return self.head.gives if self.head is not None else "scores"

    @property
    def detector(self) -> Literal["random", "trained"] | None:
        """Whether the weights of its detector are random or trained; None without a detector."""
        return self.visual.detector

    @property
    def load(self) -> dict[str, int]:
        """What the last forward pass carried through a detector; empty for other models."""
        return dict(self.visual.load)

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """The least that a detector must carry; empty for models without a detector."""
        return self.visual.declared_load(images)

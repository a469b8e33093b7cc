"""A model file as a whole: its parts, its input, and what its paper says of it."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import Part, Size
from vlbench.specs.heads import HeadPart, ImageTextMatching, PooledProduct, VisualQuestionAnswering
from vlbench.specs.interaction import DotProduct, InteractionPart, StackedCrossAttention
from vlbench.specs.text import TextPart
from vlbench.specs.visual import VisualPart

DESCRIBED = {"aliases", "source", "note", "archetype", "table6"}  # fields that change nothing that is measured


class Input(Part):
    """What one example looks like: the image is resized to exactly `image_size`, the text padded to `text_tokens`."""

    image_size: Size
    text_tokens: Annotated[int, Field(ge=0)] = 0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.5, 0.5, 0.5)


class Table6(Part):
    """The tokens for which ViLT's Table 6 charges a model, where they are not those that it runs on (docs/table6.md).

    Args:
        text_tokens, image_tokens: of the transformer.
        projected_tokens: image tokens that the visual projection is charged for, by default `image_tokens`.
        embeddings_charged: how often the embedding of each token is.
    """

    text_tokens: Annotated[int, Field(ge=0)]
    image_tokens: PositiveInt
    projected_tokens: PositiveInt | None = None
    embeddings_charged: Literal[1, 2] = 1


class ModelSpec(Part):
    """One file of `models/`: the parts of an architecture, its input, and what its paper says of it.

    An interaction that gives scores has no head behind it; every other needs one.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    aliases: tuple[str, ...] = ()
    family: Literal["patch", "grid", "region"]
    archetype: Literal["a", "b", "c", "d"] | None = None
    source: str
    note: str = ""
    table6: Table6 | None = None
    seed: int = 0
    input: Input
    text: TextPart | None = None
    visual: VisualPart
    interaction: InteractionPart
    head: HeadPart | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelSpec:
        if self.family != self.visual.family:
            raise ValueError(f"family is {self.family!r} but visual.kind is {self.visual.kind!r}")
        self._check_head()
        self._check_widths()
        if bool(self.text) != bool(self.input.text_tokens):
            raise ValueError("input.text_tokens needs a text part, and a text part needs input.text_tokens")
        self.check_input()
        return self

    def _check_head(self) -> None:
        kind = self.interaction.kind
        if self.text is None and kind != "single_stream":
            raise ValueError(f"the key 'text' is missing; interaction {kind} needs a text to meet the image")
        if not self.interaction.scores:
            if self.head is None:
                raise ValueError(f"the key 'head' is missing; interaction {kind} gives tokens")
            return
        if self.head is not None:
            raise ValueError(f"interaction {kind} gives scores; leave out the head")

    def _check_widths(self) -> None:
        if isinstance(self.interaction, DotProduct | StackedCrossAttention):
            self._check_comparable(self.interaction)
            return
        of_text, of_image = self.interaction.stream_widths
        wanted = {"visual": (self.visual.width, of_image)}
        if self.text:
            wanted["text"] = (self.text.width, of_text)
        if isinstance(self.head, PooledProduct):
            wanted["head.text"] = (self.head.text_width, of_text)
            wanted["head.image"] = (self.head.image_width, of_image)
        elif isinstance(self.head, ImageTextMatching | VisualQuestionAnswering):
            wanted["head"] = (self.head.width, of_text)
        if any(width != stream for width, stream in wanted.values()):
            interaction = str(of_text) if of_text == of_image else f"text {of_text} and image {of_image}"
            found = [f"interaction {interaction}", *(f"{name} {width}" for name, (width, _) in wanted.items())]
            raise ValueError(f"parts of different width: {', '.join(found)}")

    def _check_comparable(self, interaction: DotProduct | StackedCrossAttention) -> None:
        for name, part in (("text", self.text), ("visual", self.visual)):
            if part and not part.one_token and isinstance(interaction, DotProduct):
                raise ValueError(
                    f"interaction dot_product needs one token of each modality; {name} {part.kind} gives more"
                )
        if self.text and self.text.width != self.visual.width:
            raise ValueError(f"parts of different width: text {self.text.width}, visual {self.visual.width}")

    def check_input(self) -> None:
        """Raises ValueError where the input does not fit the parts."""
        height, width = self.input.image_size
        self.visual.check_image(height, width)
        if not 32 <= min(height, width) <= max(height, width) <= 4096:
            raise ValueError(f"image size {height}x{width}: each side must be from 32 to 4096 pixels")
        positions = self.text and self.text.positions
        if positions and self.input.text_tokens > positions:
            raise ValueError(f"{self.input.text_tokens} text tokens, but the model has {positions} positions")

    def with_input(self, *, image_size: Size | None = None, text_tokens: int | None = None) -> ModelSpec:
        """A copy for another input. Raises ValueError where it does not fit the parts."""
        size = {"image_size": image_size} if image_size else {}
        length = {"text_tokens": text_tokens} if text_tokens is not None and self.text else {}
        changed = self.input.model_copy(update=size | length)
        if changed == self.input:
            return self
        copy = self.model_copy(update={"input": changed, "table6": None})  # that table knows one input
        copy.check_input()
        return copy

    def tiny(self) -> ModelSpec:
        """The same architecture, small enough to build and run in a fraction of a second."""
        step = getattr(self.visual, "patch_size", 32)
        parts = {
            name: part.tiny() for name in ("text", "visual", "interaction", "head") if (part := getattr(self, name))
        }
        tokens = min(self.input.text_tokens, 20)  # room for the default sentence
        size = Input(image_size=(4 * step, 6 * step), text_tokens=tokens, mean=self.input.mean, std=self.input.std)
        return self.model_copy(update=parts | {"name": f"{self.name}-tiny", "input": size, "table6": None})

    def hash(self) -> str:
        """Of what is measured: every field but those that only describe."""
        described = self.model_dump(mode="json", exclude=DESCRIBED)
        return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

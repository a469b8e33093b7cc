"""A model file as a whole: its parts, its input, and what its paper says of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from vlbench.specs.base import RANDOM, CentreCrop, Engine, ExactResize, Resizing, ShorterSide, Spec
from vlbench.specs.bounds import Amount, Factor, ModelName, Number, Seed, Size, TextLength, Weights
from vlbench.specs.heads import (
    SUITABLE,
    HeadPart,
    ProductHeadSpec,
    RankingSpec,
    TaskHeads,
    TaskKind,
    TextHeadSpec,
)
from vlbench.specs.interaction import DotProductSpec, InteractionPart, StackedCrossAttentionSpec
from vlbench.specs.text import TextPart
from vlbench.specs.visual import VisualPart

# Fields that change nothing that is measured. Every image is measured at exactly `image_size`.
DESCRIBED: dict[str, Any] = dict.fromkeys(("aliases", "source", "note", "archetype", "table6", "heads"), True)
DESCRIBED |= {"input": {"evaluation": True}, "visual": {"presets": True}}


class Input(Spec):
    """One example: for latency the image is resized to exactly `image_size` and the text padded to `text_tokens`.

    For answers `evaluation` says how an image is resized, and a text keeps its length.
    """

    image_size: Size
    text_tokens: TextLength = 0
    mean: tuple[Number, Number, Number] = (0.5, 0.5, 0.5)
    std: tuple[Factor, Factor, Factor] = (0.5, 0.5, 0.5)
    evaluation: Resizing = ExactResize()

    @model_validator(mode="after")
    def _crop_lies_within(self) -> Input:
        if isinstance(self.evaluation, CentreCrop) and (self.evaluation.shorter or 4096) < max(self.image_size):
            size = "x".join(map(str, self.image_size))
            raise ValueError(f"evaluation.shorter is {self.evaluation.shorter}, less than a side of image_size {size}")
        return self

    def of_size(self, image_size: Size) -> Self:
        """A copy for images of another size."""
        return self.model_copy(update={"image_size": image_size, "evaluation": self.evaluation.for_any_size()})


class Table6(Spec):
    """The tokens that ViLT's Table 6 charges a model for, if they differ from those that it runs on (docs/table6.md).

    Args:
        text_tokens, image_tokens: of the transformer.
        projected_tokens: image tokens that the visual projection is charged for, by default `image_tokens`.
        embeddings_charged: how often each token's embedding is charged.
    """

    text_tokens: TextLength
    image_tokens: Amount
    projected_tokens: Amount | None = None
    embeddings_charged: Literal[1, 2] = 1


class ModelSpec(Spec):
    """One file of `models/`: the parts of an architecture, its input, and its source.

    An interaction that gives scores has no head; every other interaction needs one.

    Args:
        weights: of the whole model: `random`, a path, or `hub:OWNER/NAME`; `visual.weights` fills the visual part
            alone, and first.
        heads: that tasks put in the place of `head`.
    """

    # Fields that were added after the first published hashes; with these values they are left out of a hash.
    UNHASHED_DEFAULTS: ClassVar[Mapping[str, Any]] = {
        "weights": RANDOM,
        "visual.weights": RANDOM,
        "head.norm": "before_gelu",
        "text.activation": "quick_gelu",
        "visual.activation": "quick_gelu",
        "visual.engine": "torchvision",
        "visual.backbone.base_width": 64,
        "visual.roi_head.base_width": 64,
    }

    name: ModelName
    aliases: tuple[ModelName, ...] = ()
    family: Literal["patch", "grid", "region"]
    archetype: Literal["a", "b", "c", "d"] | None = None
    source: str
    note: str = ""
    table6: Table6 | None = None
    seed: Seed = 0
    input: Input
    text: TextPart | None = None
    visual: VisualPart
    interaction: InteractionPart
    head: HeadPart | None = None
    heads: TaskHeads = TaskHeads()
    weights: Weights = RANDOM

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelSpec:
        if self.family != self.visual.family:
            fits = f"family: {self.visual.family} fits"
            raise ValueError(f"family is {self.family!r} but visual.kind is {self.visual.kind!r}; {fits}")
        self._check_head()
        self._check_pairs()
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
        if self.head is not None or self.heads.declared():
            raise ValueError(f"interaction {kind} gives scores; leave out the head")

    def _check_pairs(self) -> None:
        together = any(head and head.pairs == "together" for head in (self.head, self.heads.pairs))
        if together and getattr(self.interaction, "modal_types", False):
            raise ValueError(
                "modal_types tell images apart by their rows; a head of kind pair_together puts both in one"
            )

    def _check_widths(self) -> None:
        if isinstance(self.interaction, DotProductSpec | StackedCrossAttentionSpec):
            self._check_comparable(self.interaction)
            return
        of_text, of_image = self.interaction.stream_widths
        widths = {"visual": (self.visual.width, of_image)}
        if self.text:
            widths["text"] = (self.text.width, of_text)
        heads = {f"heads.{kind}": head for kind, head in self.heads.declared().items()}
        for name, head in {"head": self.head, **heads}.items():
            if isinstance(head, ProductHeadSpec):
                widths[f"{name}.text"] = (head.text_width, of_text)
                widths[f"{name}.image"] = (head.image_width, of_image)
            elif isinstance(head, TextHeadSpec):
                widths[name] = (head.width, of_text)
        if any(width != stream for width, stream in widths.values()):
            interaction = str(of_text) if of_text == of_image else f"text {of_text} and image {of_image}"
            described = [f"interaction {interaction}", *(f"{name} {width}" for name, (width, _) in widths.items())]
            raise ValueError(f"parts of different width: {', '.join(described)}")

    def _check_comparable(self, interaction: DotProductSpec | StackedCrossAttentionSpec) -> None:
        for name, part in (("text", self.text), ("visual", self.visual)):
            if part and not part.one_token and isinstance(interaction, DotProductSpec):
                raise ValueError(
                    f"interaction dot_product needs one token of each modality; {name} {part.kind} gives more"
                )
        if self.text and self.text.width != self.visual.width:
            raise ValueError(f"parts of different width: text {self.text.width}, visual {self.visual.width}")

    def check_input(self) -> None:
        """Raises ValueError if the input does not fit the parts."""
        height, width = self.input.image_size
        self.visual.check_image(height, width)
        step, resizing = self.visual.side_multiple, self.input.evaluation
        if isinstance(resizing, ShorterSide) and resizing.multiple % step:
            raise ValueError(f"input.evaluation.multiple is {resizing.multiple}, no multiple of the {step}-pixel patch")
        if not 32 <= min(height, width) <= max(height, width) <= 4096:
            raise ValueError(f"image size {height}x{width}: each side must be from 32 to 4096 pixels")
        positions = self.text and self.text.positions
        if positions and self.input.text_tokens > positions:
            raise ValueError(f"{self.input.text_tokens} text tokens, but the model has {positions} positions")

    def with_input(self, *, image_size: Size | None = None, text_tokens: int | None = None) -> ModelSpec:
        """A copy for another input. Raises ValueError if it does not fit the parts."""
        length = {"text_tokens": text_tokens} if text_tokens is not None and self.text else {}
        changed = self.input.model_copy(update=length)
        if image_size and image_size != self.input.image_size:
            changed = changed.of_size(image_size)
        if changed == self.input:
            return self
        copy = self.model_copy(update={"input": changed, "table6": None})  # the table has one input
        copy.check_input()
        return copy

    def for_task(self, kind: TaskKind, answers: int | None = None) -> ModelSpec:
        """A copy whose head is the one for a kind of task.

        Where none is declared, the measured head will do if it answers such a task, as image-text matching does for
        `statement` and `ranking`; a model without a head ranks by its own scores. Raises ValueError, in one line, where
        there is none.

        Args:
            kind: `answers`, `pairs`, `statement` or `ranking`; see `TaskHeads`.
            answers: how many there are to choose from, where that is not as declared.
        """
        head: Any = self.heads.declared().get(kind)
        if head is None and isinstance(self.head, SUITABLE[kind].parts):
            head = self.head
        if head is None and kind == "ranking" and self.interaction.scores:
            return self
        if head is None:
            raise ValueError(f"{self.name} has no head for {kind}; give its model file one as heads.{kind}")
        if kind == "answers" and answers is not None:
            head = head.model_copy(update={"answers": answers})
        return self.model_copy(update={"head": head})

    @property
    def ranks_by_logit(self) -> bool:
        """Whether a matching head ranks pairs by the logit of match alone, rather than by the probability of match.

        ViLT and UNITER begin their ranking heads as that row of the matching head. Models without a ranking head rank
        by the probability, as the released ViLBERT and Oscar do.
        """
        return isinstance(self.heads.ranking, RankingSpec)

    @property
    def weights_label(self) -> str:
        """Where the weights come from, as tables show it."""
        seen = self.visual.weights
        return self.weights if seen == RANDOM else f"{self.weights}, visual: {seen}"

    @property
    def images(self) -> int:
        """How many images an example has: two for a head of pairs, else one."""
        return 2 if self.head and self.head.pairs else 1

    @property
    def has_detector(self) -> bool:
        return self.visual.has_detector

    @property
    def region_channels(self) -> tuple[int, ...]:
        """How many channels the feature of a precomputed region may have; empty if the model cannot read regions."""
        return self.visual.region_channels

    @property
    def reads_pixels(self) -> bool:
        """Whether the model can read images, and not only precomputed regions."""
        return True

    @property
    def reads_text_mask(self) -> bool:
        """Whether the model can tell the padding of a text from its words."""
        return True

    @property
    def generates_text(self) -> bool:
        """Whether the model answers in words that it generates."""
        return False

    @property
    def engine(self) -> Engine:
        """The library whose layers run its detector; torchvision if it has none."""
        engine: Engine = getattr(self.visual, "engine", "torchvision")
        return engine

    def with_engine(self, engine: Engine) -> ModelSpec:
        """A copy whose detector runs through this engine; the same spec if it has none."""
        if not self.has_detector or self.engine == engine:
            return self
        return self.model_copy(update={"visual": self.visual.model_copy(update={"engine": engine})})

    def tiny(self) -> ModelSpec:
        """The same architecture with random weights, small enough to be built and run in a fraction of a second."""
        step = self.visual.side_multiple if self.visual.side_multiple > 1 else 32
        names = ("text", "visual", "interaction", "head", "heads")
        parts = {name: part.tiny() for name in names if (part := getattr(self, name))}
        parts["visual"] = parts["visual"].model_copy(update={"weights": RANDOM})
        tokens = min(self.input.text_tokens, 20)  # room for the default sentence
        size = self.input.of_size((4 * step, 6 * step)).model_copy(update={"text_tokens": tokens})
        named = {"name": f"{self.name}-tiny", "input": size, "table6": None, "weights": RANDOM}
        return self.model_copy(update=parts | named)

    def hash(self) -> str:
        """A hash of what is measured: all fields except those that only describe, and `UNHASHED_DEFAULTS`."""
        measured = self.model_dump(mode="json", exclude=DESCRIBED)
        for path, default in self.UNHASHED_DEFAULTS.items():
            *parents, key = path.split(".")
            part = measured
            for parent in parents:
                part = part.get(parent) or {}
            if part.get(key) == default:
                del part[key]
        return hashlib.sha256(json.dumps(measured, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]

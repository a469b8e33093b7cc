"""The heads of a model, and which of them serve which kind of task: a kind of task is defined here, once."""

from __future__ import annotations

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from vlbench.specs.base import TINY_HEADS, TINY_WIDTH, Spec, check_heads
from vlbench.specs.bounds import Amount, Epsilon, Fraction, Width
from vlbench.specs.huggingface_parts import Gives

# What a task asks of a model, and the keys of `heads` in a model file.
TaskKind = Literal["answers", "pairs", "statement", "ranking"]
TINY_ANSWERS = 11


class HeadSpec(Spec):
    """A head.

    Class attributes:
        pairs: how it reads the two images of a pair: `apart`, each in a sequence with the text; `together`, both in one
            sequence; None for a head of one image.
    """

    pairs: ClassVar[Literal["apart", "together"] | None] = None


class PooledFeatureSpec(HeadSpec):
    """The image's feature alone (ViT, section 3.1 and appendix D.3).

    Args:
        pooling: `cls`, the first image token; `mean`, the mean of the other real ones.
    """

    implementation: ClassVar[str] = "vlbench.architectures.heads:PooledFeature"
    kind: Literal["pooled_feature"]
    pooling: Literal["cls", "mean"] = "cls"


class TextHeadSpec(HeadSpec):
    """A head that reads text tokens of this width."""

    width: Width = 768

    def tiny(self) -> TextHeadSpec:
        small = {"width": TINY_WIDTH} | ({"answers": TINY_ANSWERS} if "answers" in type(self).model_fields else {})
        return self.model_copy(update=small)


class ProductHeadSpec(HeadSpec):
    """A head that multiplies the first tokens of two streams (ViLBERT, section 2.2).

    Args:
        text_width, image_width: of the streams.
        width: of the product.
    """

    text_width: Width = 768
    image_width: Width = 1024
    width: Width = 1024

    def tiny(self) -> ProductHeadSpec:
        small = dict.fromkeys(("text_width", "image_width", "width"), TINY_WIDTH)
        return self.model_copy(
            update=small | ({"answers": TINY_ANSWERS} if "answers" in type(self).model_fields else {})
        )


class ImageTextMatchingSpec(TextHeadSpec):
    """Whether the text describes the image: pooler, then two classes (UNITER, section 3.2; ViLT, section 3.2)."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:ImageTextMatching"
    kind: Literal["itm"]


class PooledProductSpec(ProductHeadSpec):
    """The same for two streams: both are pooled, and their product is classified (ViLBERT, section 2.2)."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:PooledProduct"
    kind: Literal["itm_product"]


class RankingSpec(TextHeadSpec):
    """How well the text fits the image, as one number: pooler, then a linear layer (UNITER, section 4; ViLT, 4.2)."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:Ranking"
    kind: Literal["rank"]


class VisualQuestionAnsweringSpec(TextHeadSpec):
    """Answer classifier: pooler, then a two-layer MLP of twice the width.

    Args:
        answers: to choose from.
        norm: where its LayerNorm is: `before_gelu` (ViLT, section 4.2), or `after_gelu` as in the released UNITER and
            LXMERT.
        layer_norm_eps: of that LayerNorm.
    """

    implementation: ClassVar[str] = "vlbench.architectures.heads:VisualQuestionAnswering"
    kind: Literal["vqa"]
    answers: Amount = 3129
    norm: Literal["before_gelu", "after_gelu"] = "before_gelu"
    layer_norm_eps: Epsilon = 1e-5


class LinearAnswersSpec(TextHeadSpec):
    """Answer classifier of one linear layer.

    Args:
        answers: to choose from.
        reads: `pooled`, the pooled first token (Oscar, section 4); `last_word`, the word before the last [SEP], where
            the released VisualBERT puts [MASK] (VisualBERT, section 4.1).
    """

    implementation: ClassVar[str] = "vlbench.architectures.heads:LinearAnswers"
    kind: Literal["vqa_linear"]
    answers: Amount = 3129
    reads: Literal["pooled", "last_word"] = "pooled"


class ProductAnswersSpec(ProductHeadSpec):
    """Answer classifier of two streams: a two-layer MLP over their product (ViLBERT, section 3.2)."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:ProductAnswers"
    kind: Literal["vqa_product"]
    answers: Amount = 3129
    layer_norm_eps: Epsilon = 1e-12


class PairClassifierSpec(TextHeadSpec):
    """Whether the text is true of two images: an MLP over the pooled tokens of the text with each of the two.

    The order of LayerNorm and GELU is as for `vqa` (ViLT, section 4.2; LXMERT, section 4.2).
    """

    implementation: ClassVar[str] = "vlbench.architectures.heads:PairClassifier"
    pairs: ClassVar[Literal["apart", "together"] | None] = "apart"
    kind: Literal["pair"]
    norm: Literal["before_gelu", "after_gelu"] = "before_gelu"
    layer_norm_eps: Epsilon = 1e-5


class LinearPairSpec(TextHeadSpec):
    """The same through one linear layer (UNITER, section 4, "Pair")."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:LinearPair"
    pairs: ClassVar[Literal["apart", "together"] | None] = "apart"
    kind: Literal["pair_linear"]


class AttentivePairSpec(TextHeadSpec):
    """The same after each image's sequence attended to the other's (UNITER, section 4, "Pair-biattn").

    Args:
        heads: of each of the two attentions.
        dropout: while training.
    """

    implementation: ClassVar[str] = "vlbench.architectures.heads:AttentivePair"
    pairs: ClassVar[Literal["apart", "together"] | None] = "apart"
    kind: Literal["pair_attention"]
    heads: Width = 12
    dropout: Fraction = 0.1

    @model_validator(mode="after")
    def _heads_divide_width(self) -> AttentivePairSpec:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> AttentivePairSpec:
        return self.model_copy(update={"width": TINY_WIDTH, "heads": TINY_HEADS})


class TogetherPairSpec(TextHeadSpec):
    """Both images side by side in one sequence, whose pooled token is classified (UNITER, section 4, "Triplet")."""

    implementation: ClassVar[str] = "vlbench.architectures.heads:TogetherPair"
    pairs: ClassVar[Literal["apart", "together"] | None] = "together"
    kind: Literal["pair_together"]


AnswersHead = VisualQuestionAnsweringSpec | LinearAnswersSpec | ProductAnswersSpec
PairsHead = PairClassifierSpec | LinearPairSpec | AttentivePairSpec | TogetherPairSpec
StatementHead = ImageTextMatchingSpec | PooledProductSpec
RankingHead = RankingSpec | StatementHead
HeadPart = Annotated[PooledFeatureSpec | AnswersHead | PairsHead | RankingHead, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuitableHeads:
    """What can serve a kind of task.

    Attributes:
        parts: a union of heads, for models of vlbench's own parts.
        outputs: what the output of a class of transformers must be.
    """

    parts: UnionType
    outputs: tuple[Gives, ...]

    @property
    def part_kinds(self) -> tuple[str, ...]:
        """What model files write as `kind` of these parts."""
        return tuple(get_args(part.model_fields["kind"].annotation)[0] for part in get_args(self.parts))


SUITABLE: dict[TaskKind, SuitableHeads] = {
    "answers": SuitableHeads(parts=AnswersHead, outputs=("answers", "words")),
    "pairs": SuitableHeads(parts=PairsHead, outputs=("pairs",)),
    "statement": SuitableHeads(parts=StatementHead, outputs=("matching",)),
    "ranking": SuitableHeads(parts=RankingHead, outputs=("ranking", "matching", "similarity")),
}


class TaskHeads(Spec):
    """The heads of a model for kinds of task; each takes the place of the head that is measured.

    Args:
        answers: chooses an answer from a fixed set (VQAv2, easy-VQA).
        pairs: decides whether a statement is true of two images (NLVR2).
        statement: decides whether a statement is true of one image (NLVR).
        ranking: scores how well a text fits an image (retrieval).
    """

    answers: AnswersHead | None = Field(None, discriminator="kind")
    pairs: PairsHead | None = Field(None, discriminator="kind")
    statement: StatementHead | None = Field(None, discriminator="kind")
    ranking: RankingHead | None = Field(None, discriminator="kind")

    def declared(self) -> dict[str, HeadPart]:
        """The heads that the model file gives, by kind of task."""
        return {kind: head for kind in type(self).model_fields if (head := getattr(self, kind))}

    def tiny(self) -> TaskHeads:
        return self.model_copy(update={kind: head.tiny() for kind, head in self.declared().items()})

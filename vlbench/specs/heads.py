"""What is asked of the joint tokens: by the head that is measured, and by those that tasks ask for in its place."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vlbench.specs.base import TINY_HEADS, TINY_WIDTH, Fraction, Part, check_heads

TaskKind = Literal["answers", "pairs", "statement", "ranking"]
TINY_ANSWERS = 11


class PooledFeatureSpec(Part):
    """The image's feature alone: the first token, or the mean of the others (ViT, section 3.1 and appendix D.3)."""

    kind: Literal["pooled_feature"]
    pooling: Literal["cls", "mean"] = "cls"


class TextHeadSpec(Part):
    """What every head has that reads the text's tokens."""

    width: PositiveInt = 768

    def tiny(self) -> TextHeadSpec:
        small = {"width": TINY_WIDTH} | ({"answers": TINY_ANSWERS} if "answers" in type(self).model_fields else {})
        return self.model_copy(update=small)


class ProductHeadSpec(Part):
    """What every head has that multiplies the first tokens of two streams (ViLBERT, section 2.2)."""

    text_width: PositiveInt = 768
    image_width: PositiveInt = 1024
    width: PositiveInt = 1024

    def tiny(self) -> ProductHeadSpec:
        small = dict.fromkeys(("text_width", "image_width", "width"), TINY_WIDTH)
        return self.model_copy(
            update=small | ({"answers": TINY_ANSWERS} if "answers" in type(self).model_fields else {})
        )


class ImageTextMatchingSpec(TextHeadSpec):
    """Does the text describe the image: pooler, then two classes (UNITER, section 3.2; ViLT, section 3.2)."""

    kind: Literal["itm"]


class PooledProductSpec(ProductHeadSpec):
    """The same question to two streams: both are pooled and their product is classified (ViLBERT, section 2.2)."""

    kind: Literal["itm_product"]


class RankingSpec(TextHeadSpec):
    """How well the text fits the image, as one number: pooler, then a linear layer (UNITER, section 4; ViLT, 4.2)."""

    kind: Literal["rank"]


class VisualQuestionAnsweringSpec(TextHeadSpec):
    """Answer classifier: pooler, then a two-layer MLP.

    Its LayerNorm comes `before_gelu` (ViLT, section 4.2), or `after_gelu` as in the released UNITER and LXMERT.
    """

    kind: Literal["vqa"]
    answers: PositiveInt = 3129
    norm: Literal["before_gelu", "after_gelu"] = "before_gelu"
    layer_norm_eps: PositiveFloat = 1e-5


class LinearAnswersSpec(TextHeadSpec):
    """Answer classifier of one linear layer.

    It `reads` the pooled first token (Oscar, section 4), or the word before the last [SEP], for which the released
    VisualBERT puts [MASK] there (VisualBERT, section 4.1).
    """

    kind: Literal["vqa_linear"]
    answers: PositiveInt = 3129
    reads: Literal["pooled", "last_word"] = "pooled"


class ProductAnswersSpec(ProductHeadSpec):
    """Answer classifier of two streams: a two-layer MLP over their product (ViLBERT, section 3.2)."""

    kind: Literal["vqa_product"]
    answers: PositiveInt = 3129
    layer_norm_eps: PositiveFloat = 1e-12


class PairClassifierSpec(TextHeadSpec):
    """Is the text true of two images: each meets the text on its own, both pooled tokens go through an MLP.

    The order of LayerNorm and GELU is as for `vqa` (ViLT, section 4.2; LXMERT, section 4.2).
    """

    kind: Literal["pair"]
    norm: Literal["before_gelu", "after_gelu"] = "before_gelu"
    layer_norm_eps: PositiveFloat = 1e-5


class LinearPairSpec(TextHeadSpec):
    """The same through one linear layer (UNITER, section 4, "Pair")."""

    kind: Literal["pair_linear"]


class AttentivePairSpec(TextHeadSpec):
    """The same after each image's sequence attended to the other's (UNITER, section 4, "Pair-biattn")."""

    kind: Literal["pair_attention"]
    heads: PositiveInt = 12
    dropout: Fraction = 0.1

    @model_validator(mode="after")
    def _heads_divide_width(self) -> AttentivePairSpec:
        check_heads(self.width, self.heads)
        return self

    def tiny(self) -> AttentivePairSpec:
        return self.model_copy(update={"width": TINY_WIDTH, "heads": TINY_HEADS})


class TogetherPairSpec(TextHeadSpec):
    """Both images side by side in one sequence; its pooled token is classified (UNITER, section 4, "Triplet")."""

    kind: Literal["pair_together"]


AnswersHead = Annotated[
    VisualQuestionAnsweringSpec | LinearAnswersSpec | ProductAnswersSpec, Field(discriminator="kind")
]
PairsHead = Annotated[
    PairClassifierSpec | LinearPairSpec | AttentivePairSpec | TogetherPairSpec, Field(discriminator="kind")
]
StatementHead = Annotated[ImageTextMatchingSpec | PooledProductSpec, Field(discriminator="kind")]
RankingHead = Annotated[RankingSpec | ImageTextMatchingSpec | PooledProductSpec, Field(discriminator="kind")]
HeadPart = Annotated[
    PooledFeatureSpec
    | ImageTextMatchingSpec
    | PooledProductSpec
    | RankingSpec
    | VisualQuestionAnsweringSpec
    | LinearAnswersSpec
    | ProductAnswersSpec
    | PairClassifierSpec
    | LinearPairSpec
    | AttentivePairSpec
    | TogetherPairSpec,
    Field(discriminator="kind"),
]
PAIRS = (PairClassifierSpec, LinearPairSpec, AttentivePairSpec, TogetherPairSpec)
SUITED: dict[str, tuple[type[Part], ...]] = {
    "answers": (VisualQuestionAnsweringSpec, LinearAnswersSpec, ProductAnswersSpec),
    "pairs": PAIRS,
    "statement": (ImageTextMatchingSpec, PooledProductSpec),
    "ranking": (RankingSpec, ImageTextMatchingSpec, PooledProductSpec),
}  # the heads that answer a kind of task


class TaskHeads(Part):
    """The heads that a model has for tasks, beside the one that is measured.

    Args:
        answers: a question's answer among a fixed set (VQAv2, easy-VQA).
        pairs: whether a statement is true of two images (NLVR2).
        statement: whether it is true of one (NLVR).
        ranking: how well a text fits an image (retrieval).
    """

    answers: AnswersHead | None = None
    pairs: PairsHead | None = None
    statement: StatementHead | None = None
    ranking: RankingHead | None = None

    def declared(self) -> dict[str, Part]:
        """Those that there are, by the kind of task."""
        return {kind: head for kind in type(self).model_fields if (head := getattr(self, kind))}

    def tiny(self) -> TaskHeads:
        return self.model_copy(update={kind: head.tiny() for kind, head in self.declared().items()})

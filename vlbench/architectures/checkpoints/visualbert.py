"""VisualBERT's checkpoints (Li et al. 2019) under transformers' names."""

from __future__ import annotations

from torch import Tensor

from vlbench.architectures.checkpoints.bert import embeddings, layer, pooler
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, State, Untouched

IMPLIES = {
    "text.layer_norm_eps": 1e-12,
    "visual.projection.combine": "sum",
    "visual.projection.layer_norm_eps": 1e-12,
    "interaction.norm": "post",
    "interaction.layer_norm_eps": 1e-12,
}
SIGNATURE = "visual_bert.embeddings.visual_projection.weight"
PAIRS = ("pair", "pair_linear", "pair_attention", "pair_together")
SINGLE = ("itm", "rank", "vqa", "vqa_linear")


def _of_image(positions: Tensor, types: Tensor) -> Tensor:
    """Every region has position 0 and type 1."""
    return positions[0] + types[1]


def _of_pair(positions: Tensor, types: Tensor) -> Tensor:
    """Regions of the left image have type 0 and those of the right type 1 (the released code's NLVR2), (2, D)."""
    return positions[:1] + types[:2]


def _body(prefix: str, segment: Rule) -> tuple[Rule, ...]:
    both = f"{prefix}embeddings"
    return (
        *embeddings(both),
        Rule("visual.projection.feature.{p}", f"{both}.visual_projection.{{p}}"),
        segment,
        # Words and regions share one LayerNorm.
        Rule("visual.projection.norm.{p}", f"{both}.LayerNorm.{{p}}", again=True),
        *layer("interaction.blocks.{n}", f"{prefix}encoder.layer.{{n}}"),
        pooler(prefix.removesuffix(".")),
    )


def _segment(prefix: str, make: object) -> Rule:
    tables = ("visual_position_embeddings", "visual_token_type_embeddings")
    theirs = tuple(f"{prefix}embeddings.{table}.weight" for table in tables)
    return Rule("visual.projection.segment", theirs, make)  # type: ignore[arg-type]


def _single(prefix: str = "visual_bert.") -> tuple[Rule, ...]:
    return _body(prefix, _segment(prefix, _of_image))


def _pair(prefix: str = "visual_bert.") -> tuple[Rule, ...]:
    return _body(prefix, _segment(prefix, _of_pair))


def _two_classes(state: State) -> bool:
    return len(state["cls.weight"]) == 2


def _answers(state: State) -> bool:
    return len(state["cls.weight"]) > 2


_POSITION_IDS = Dropped("*embeddings.*_ids", "positions from 0 on and types of 0, for which slices stand here")
_POOLER = Dropped("*pooler.*", "for a head that does not pool")
_PRETRAINING = (
    Dropped("cls.predictions.*", "the head of masked words, which no task here uses"),
    Dropped("cls.seq_relationship.*", "decides whether a second caption fits, which no task here needs"),
)
_HEAD = Untouched("head.*", "pre-training leaves no head for this task")

VISUALBERT_FAMILIES = (
    Family(
        title="VisualBERT for VQA (transformers' names)",
        signature=(SIGNATURE, "cls.weight"),
        when=_answers,
        rules=(*_single(), Rule("head.classifier.{p}", "cls.{p}")),
        dropped=(_POSITION_IDS, _POOLER),
        heads=("vqa_linear",),
        implies=IMPLIES | {"head.reads": "last_word"},
        configs=("visual_bert",),
    ),
    Family(
        title="VisualBERT for NLVR2 (transformers' names)",
        signature=(SIGNATURE, "cls.weight"),
        when=_two_classes,
        rules=(*_pair(), Rule("head.classifier.{p}", "cls.{p}")),
        dropped=(_POSITION_IDS,),
        heads=("pair_together",),
        implies=IMPLIES,
        configs=("visual_bert",),
    ),
    *(
        Family(
            title="VisualBERT from pre-training (transformers' names)",
            signature=(SIGNATURE, "cls.predictions.transform.dense.weight"),
            rules=rules,
            dropped=(_POSITION_IDS, _POOLER, *_PRETRAINING),
            untouched=(_HEAD,),
            heads=heads,
            implies=IMPLIES,
            configs=("visual_bert",),
        )
        for rules, heads in ((_pair(), PAIRS), (_single(), SINGLE))
    ),
    *(
        Family(
            title="VisualBERT without a head (transformers' names)",
            signature=("embeddings.visual_projection.weight", "embeddings.word_embeddings.weight"),
            rules=rules,
            dropped=(_POSITION_IDS, _POOLER),
            untouched=(_HEAD,),
            heads=heads,
            implies=IMPLIES,
            configs=("visual_bert",),
        )
        for rules, heads in ((_pair(""), PAIRS), (_single(""), SINGLE))
    ),
)

"""UNITER's checkpoints (Chen et al. 2020) as its authors released them, base and large."""

from __future__ import annotations

from torch import Tensor

from vlbench.architectures.checkpoints.bert import answers, embeddings, layer, pooler
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, State, Untouched

IMPLIES = {
    "text.layer_norm_eps": 1e-12,
    "visual.projection.combine": "sum_of_norms",
    "visual.projection.layer_norm_eps": 1e-12,
    "interaction.norm": "post",
    "interaction.layer_norm_eps": 1e-12,
}
PAIRS = ("pair", "pair_linear", "pair_attention", "pair_together")
SINGLE = ("itm", "rank", "vqa", "vqa_linear")
SIGNATURE = "uniter.img_embeddings.img_linear.weight"


def _of_text(types: Tensor) -> Tensor:
    """Ours has two segments; a text uses the first."""
    return types[:2]


def _of_image(types: Tensor) -> Tensor:
    return types[1]


def _of_pair(types: Tensor) -> Tensor:
    """Types of the left and the right image, (2, D): rows 1 and 2 of a table of three, else row 1 for both."""
    return types[[1, -1]]


def _body(prefix: str, segment: Rule) -> tuple[Rule, ...]:
    regions = f"{prefix}img_embeddings"
    return (
        Rule("text.segments.weight", segment.theirs, _of_text),
        segment,
        *embeddings(f"{prefix}embeddings"),
        Rule("visual.projection.feature.{p}", f"{regions}.img_linear.{{p}}"),
        Rule("visual.projection.feature_norm.{p}", f"{regions}.img_layer_norm.{{p}}"),
        Rule("visual.projection.geometry.{p}", f"{regions}.pos_linear.{{p}}"),
        Rule("visual.projection.geometry_norm.{p}", f"{regions}.pos_layer_norm.{{p}}"),
        Rule("visual.projection.norm.{p}", f"{regions}.LayerNorm.{{p}}"),
        *layer("interaction.blocks.{n}", f"{prefix}encoder.layer.{{n}}"),
        pooler(prefix.removesuffix(".")),
    )


def _single(prefix: str = "uniter.") -> tuple[Rule, ...]:
    types = f"{prefix}embeddings.token_type_embeddings.weight"
    return _body(prefix, Rule("visual.projection.segment", types, _of_image, again=True))


def _pair(prefix: str = "uniter.") -> tuple[Rule, ...]:
    types = f"{prefix}embeddings.token_type_embeddings.weight"
    return _body(prefix, Rule("visual.projection.segment", types, _of_pair, again=True))


def _query(in_proj: Tensor) -> Tensor:
    return in_proj.chunk(3)[0]


def _key_value(in_proj: Tensor) -> Tensor:
    return in_proj[len(in_proj) // 3 :]


def _between(ours: str, theirs: str) -> tuple[Rule, ...]:
    """An attention whose query, key and value are one tensor; here the query has its own."""
    return (
        *(Rule(f"{ours}.query.{part}", f"{theirs}.in_proj_{part}", _query) for part in ("weight", "bias")),
        *(
            Rule(f"{ours}.key_value.{part}", f"{theirs}.in_proj_{part}", _key_value, again=True)
            for part in ("weight", "bias")
        ),
        Rule(f"{ours}.out.{{p}}", f"{theirs}.out_proj.{{p}}"),
    )


def _sees_both_pooled(state: State) -> bool:
    output = state["nlvr2_output.weight"]
    return "attn1.in_proj_weight" not in state and output.shape[1] == 2 * state[SIGNATURE].shape[0]


def _sees_one_pooled(state: State) -> bool:
    return state["nlvr2_output.weight"].shape[1] == state[SIGNATURE].shape[0]


_MASKED_REGIONS = Dropped("*img_embeddings.mask_embedding.weight", "stands for regions that pre-training hides")
_PRETRAINING = (
    Dropped("cls.*", "the head of masked words, which no task here uses"),
    Dropped("feat_regress.*", "the head of hidden regions' features"),
    Dropped("region_classifier.*", "the head of hidden regions' classes"),
)
_MATCHING = Dropped("itm_output.*", "the head of matching, where the model has another")
_RANKING = Dropped("rank_output.*", "the head of ranking, where the model has another")
_POOLER = Dropped("*pooler.*", "for a head that does not pool")
_HEAD = Untouched("head.*", "pre-training leaves no head for this task")

UNITER_FAMILIES = (
    Family(
        title="UNITER for VQA",
        signature=(SIGNATURE, "vqa_output.3.weight"),
        rules=(*_single(), *answers("vqa_output", norm=2)),
        dropped=(_MASKED_REGIONS,),
        heads=("vqa",),
        implies=IMPLIES | {"head.norm": "after_gelu", "head.layer_norm_eps": 1e-12},
        configs=("uniter",),
    ),
    Family(
        title="UNITER for NLVR2, paired with attention",
        signature=(SIGNATURE, "attn1.in_proj_weight", "nlvr2_output.weight"),
        rules=(
            *_pair(),
            *_between("head.left", "attn1"),
            *_between("head.right", "attn2"),
            Rule("head.merge.{p}", "fc.0.{p}"),
            Rule("head.score.{p}", "attn_pool.fc.0.{p}"),
            Rule("head.classifier.{p}", "nlvr2_output.{p}"),
        ),
        dropped=(_MASKED_REGIONS, _POOLER),
        heads=("pair_attention",),
        implies=IMPLIES,
        configs=("uniter",),
    ),
    Family(
        title="UNITER for NLVR2, paired",
        signature=(SIGNATURE, "nlvr2_output.weight"),
        when=_sees_both_pooled,
        rules=(*_pair(), Rule("head.classifier.{p}", "nlvr2_output.{p}")),
        dropped=(_MASKED_REGIONS,),
        heads=("pair_linear",),
        implies=IMPLIES,
        configs=("uniter",),
    ),
    Family(
        title="UNITER for NLVR2, both images in one sequence",
        signature=(SIGNATURE, "nlvr2_output.weight"),
        when=_sees_one_pooled,
        rules=(*_pair(), Rule("head.classifier.{p}", "nlvr2_output.{p}")),
        dropped=(_MASKED_REGIONS,),
        heads=("pair_together",),
        implies=IMPLIES,
        configs=("uniter",),
    ),
    Family(
        title="UNITER for retrieval",
        signature=(SIGNATURE, "rank_output.weight"),
        rules=(*_single(), Rule("head.classifier.{p}", "rank_output.{p}")),
        dropped=(_MASKED_REGIONS, _MATCHING),
        heads=("rank",),
        implies=IMPLIES,
        configs=("uniter",),
    ),
    Family(
        title="UNITER with a head of matching",
        signature=(SIGNATURE, "itm_output.weight"),
        rules=(*_single(), Rule("head.classifier.{p}", "itm_output.{p}")),
        dropped=(_MASKED_REGIONS, _RANKING, *_PRETRAINING),
        heads=("itm",),
        implies=IMPLIES,
        configs=("uniter",),
    ),
    *(
        Family(
            title="UNITER from pre-training",
            signature=(SIGNATURE, "cls.predictions.transform.dense.weight"),
            rules=rules,
            dropped=(_MASKED_REGIONS, _MATCHING, _POOLER, *_PRETRAINING),
            untouched=(_HEAD,),
            heads=heads,
            implies=IMPLIES,
            configs=("uniter",),
        )
        for rules, heads in ((_pair(), PAIRS), (_single(), SINGLE))
    ),
    *(
        Family(
            title="UNITER without a head",
            signature=("img_embeddings.img_linear.weight", "embeddings.word_embeddings.weight"),
            rules=rules,
            dropped=(_MASKED_REGIONS, _POOLER),
            untouched=(_HEAD,),
            heads=heads,
            implies=IMPLIES,
            configs=("uniter",),
        )
        for rules, heads in ((_pair(""), PAIRS), (_single(""), SINGLE))
    ),
)

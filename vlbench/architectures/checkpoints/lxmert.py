"""LXMERT's checkpoints (Tan & Bansal 2019), under transformers' names: pre-training, answers, and the bare model."""

from __future__ import annotations

from vlbench.architectures.checkpoints.bert import answers, embeddings, layer, pooler
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, Untouched

IMPLIES = {
    "text.layer_norm_eps": 1e-12,
    "visual.projection.combine": "mean_of_norms",
    "visual.projection.layer_norm_eps": 1e-12,
    "interaction.cross": "attention",
    "interaction.layer_norm_eps": 1e-12,
}
ANSWER_HEAD = {"head.norm": "after_gelu", "head.layer_norm_eps": 1e-12}
SIGNATURE, PRETRAINING, ANSWERS = (
    "lxmert.encoder.visn_fc.box_fc.weight",
    "cls.seq_relationship.weight",
    "answer_head.logit_fc.3.weight",
)


def _body(prefix: str) -> tuple[Rule, ...]:
    encoder = f"{prefix}encoder"
    cross = f"{encoder}.x_layers.{{n}}"
    return (
        *embeddings(f"{prefix}embeddings"),
        Rule("visual.projection.feature.{p}", f"{encoder}.visn_fc.visn_fc.{{p}}"),
        Rule("visual.projection.feature_norm.{p}", f"{encoder}.visn_fc.visn_layer_norm.{{p}}"),
        Rule("visual.projection.geometry.{p}", f"{encoder}.visn_fc.box_fc.{{p}}"),
        Rule("visual.projection.geometry_norm.{p}", f"{encoder}.visn_fc.box_layer_norm.{{p}}"),
        *layer("interaction.text.{n}", f"{encoder}.layer.{{n}}"),
        *layer("interaction.image.{n}", f"{encoder}.r_layers.{{n}}"),
        Rule("interaction.cross.{n}.attention.query.{p}", f"{cross}.visual_attention.att.query.{{p}}"),
        Rule(
            "interaction.cross.{n}.attention.key_value.{p}",
            tuple(f"{cross}.visual_attention.att.{name}.{{p}}" for name in ("key", "value")),
        ),
        Rule("interaction.cross.{n}.attention.out.{p}", f"{cross}.visual_attention.output.dense.{{p}}"),
        Rule("interaction.cross.{n}.norm.{p}", f"{cross}.visual_attention.output.LayerNorm.{{p}}"),
        *(
            rule
            for ours, theirs in (("text", "lang"), ("image", "visn"))
            for rule in layer(
                f"interaction.cross.{{n}}.{ours}",
                cross,
                attention=f"{theirs}_self_att",
                intermediate=f"{theirs}_inter",
                output=f"{theirs}_output",
            )
        ),
        pooler(prefix.removesuffix(".")),
    )


_BODY = _body("lxmert.")
_MASKED = (
    Dropped("cls.predictions.*", "the head of masked words, which no task here uses"),
    Dropped("obj_predict_head.*", "the heads of hidden regions, which no task here uses"),
)
_ANSWERS = answers("answer_head.logit_fc", norm=2)

LXMERT_FAMILIES = (
    Family(
        title="LXMERT's pre-training with its head of matching",
        signature=(SIGNATURE, PRETRAINING),
        rules=(*_BODY, Rule("head.classifier.{p}", "cls.seq_relationship.{p}")),
        dropped=(*_MASKED, Dropped("answer_head.*", "the head of 9,500 answers, where matching is asked")),
        heads=("itm",),
        implies=IMPLIES,
        configs=("lxmert",),
    ),
    Family(
        title="LXMERT's pre-training with its head of answers",
        signature=(SIGNATURE, PRETRAINING, ANSWERS),
        rules=(*_BODY, *_ANSWERS),
        dropped=(*_MASKED, Dropped("cls.seq_relationship.*", "the head of matching, where answers are asked")),
        heads=("vqa",),
        implies=IMPLIES | ANSWER_HEAD,
        configs=("lxmert",),
    ),
    Family(
        title="LXMERT for answers",
        signature=(SIGNATURE, ANSWERS),
        rules=(*_BODY, *_ANSWERS),
        heads=("vqa",),
        implies=IMPLIES | ANSWER_HEAD,
        configs=("lxmert",),
    ),
    Family(
        title="LXMERT without a head",
        signature=("encoder.visn_fc.box_fc.weight", "embeddings.word_embeddings.weight"),
        rules=_body(""),
        untouched=(Untouched("head.*", "the bare model has no head for any task"),),
        implies=IMPLIES,
        configs=("lxmert",),
    ),
)

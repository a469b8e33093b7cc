"""ViLT's checkpoints (Kim et al. 2021), under transformers' names and under those of the released code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vlbench.architectures.checkpoints.bert import QKV, answers, embeddings, pooler
from vlbench.architectures.checkpoints.rules import Dropped, Family, Rule, State, Untouched

IMPLIES = {
    "text.layer_norm_eps": 1e-12,
    "visual.align_corners": True,
    "interaction.norm": "pre",
    "interaction.layer_norm_eps": 1e-12,
}
# The released code builds its transformer with an epsilon of 1e-6; transformers' conversion of it has 1e-12.
RELEASED_EPS = 1e-6
MLP_HEAD = {"head.norm": "before_gelu", "head.layer_norm_eps": 1e-5}
PAIRS = ("pair", "pair_linear", "pair_attention")


def _transformers(prefix: str) -> tuple[Rule, ...]:
    layer = f"{prefix}encoder.layer.{{n}}"
    return (
        *embeddings(f"{prefix}embeddings.text_embeddings"),
        Rule("visual.class_token", f"{prefix}embeddings.cls_token"),
        Rule("visual.positions", f"{prefix}embeddings.position_embeddings"),
        Rule("visual.patch.{p}", f"{prefix}embeddings.patch_embeddings.projection.{{p}}"),
        Rule("interaction.modal_types.weight", f"{prefix}embeddings.token_type_embeddings.weight"),
        Rule(
            "interaction.blocks.{n}.attention.qkv.{p}",
            tuple(f"{layer}.attention.attention.{name}.{{p}}" for name in QKV),
        ),
        Rule("interaction.blocks.{n}.attention.out.{p}", f"{layer}.attention.output.dense.{{p}}"),
        Rule("interaction.blocks.{n}.attention_norm.{p}", f"{layer}.layernorm_before.{{p}}"),
        Rule("interaction.blocks.{n}.mlp.expand.{p}", f"{layer}.intermediate.dense.{{p}}"),
        Rule("interaction.blocks.{n}.mlp.contract.{p}", f"{layer}.output.dense.{{p}}"),
        Rule("interaction.blocks.{n}.mlp_norm.{p}", f"{layer}.layernorm_after.{{p}}"),
        Rule("interaction.norm.{p}", f"{prefix}layernorm.{{p}}"),
        pooler(prefix.removesuffix(".")),
    )


_ORIGINAL = (
    *embeddings("text_embeddings"),
    Rule("visual.class_token", "transformer.cls_token"),
    Rule("visual.positions", "transformer.pos_embed"),
    Rule("visual.patch.{p}", "transformer.patch_embed.proj.{p}"),
    Rule("interaction.modal_types.weight", "token_type_embeddings.weight"),
    Rule("interaction.blocks.{n}.attention.qkv.{p}", "transformer.blocks.{n}.attn.qkv.{p}"),
    Rule("interaction.blocks.{n}.attention.out.{p}", "transformer.blocks.{n}.attn.proj.{p}"),
    Rule("interaction.blocks.{n}.attention_norm.{p}", "transformer.blocks.{n}.norm1.{p}"),
    Rule("interaction.blocks.{n}.mlp.expand.{p}", "transformer.blocks.{n}.mlp.fc1.{p}"),
    Rule("interaction.blocks.{n}.mlp.contract.{p}", "transformer.blocks.{n}.mlp.fc2.{p}"),
    Rule("interaction.blocks.{n}.mlp_norm.{p}", "transformer.blocks.{n}.norm2.{p}"),
    Rule("interaction.norm.{p}", "transformer.norm.{p}"),
    pooler(""),
)
_POSITION_IDS = Dropped("*text_embeddings.*_ids", "positions from 0 on and types of 0, for which slices stand here")
_MASKED_WORDS = Dropped("mlm_score.*", "the head of masked words, which no task here uses")
_MATCHING = Dropped("itm_score.*", "the head of matching, where the model has another")
_RANKING = Dropped("rank_output.*", "the head of ranking, where the model has another")
_POOLER = Dropped("*pooler.*", "for a head that does not pool")
_HEAD = Untouched("head.*", "pre-training leaves no head for this task")


def _of_a_pair(types: Tensor) -> Tensor:
    """Adds a row for the right image, equal to that of the left one, as the released code does before fine-tuning."""
    return torch.cat((types, types[-1:]))


def _two_images(state: State) -> bool:
    name = next(name for name in ("classifier.0.weight", "nlvr2_classifier.0.weight") if name in state)
    return state[name].shape[0] == state[name].shape[1]


def _one_image(state: State) -> bool:
    return not _two_images(state)


def _before_fine_tuning(
    title: str,
    signature: tuple[str, ...],
    rules: tuple[Rule, ...],
    dropped: tuple[Dropped, ...],
    configs: tuple[str, ...] = (),
    trained_eps: float | None = None,
) -> tuple[Family, Family]:
    """The families of a checkpoint that has no head for the task: for two images, and for one."""
    (modal,) = (rule for rule in rules if rule.ours == "interaction.modal_types.weight")
    pair = (Rule(modal.ours, modal.theirs, _of_a_pair), *rules)
    common: dict[str, Any] = {
        "title": title,
        "signature": signature,
        "dropped": (*dropped, _POOLER),
        "untouched": (_HEAD,),
    }
    common |= {"configs": configs, "trained_eps": trained_eps}
    return (
        Family(**common, rules=pair, heads=PAIRS, implies=IMPLIES),
        Family(**common, rules=rules, implies=IMPLIES),
    )


VILT_FAMILIES = (
    Family(
        title="ViLT for VQA (transformers' names)",
        signature=("vilt.embeddings.cls_token", "classifier.0.weight", "classifier.3.weight"),
        when=_one_image,
        rules=(*_transformers("vilt."), *answers("classifier", norm=1)),
        dropped=(_POSITION_IDS,),
        heads=("vqa",),
        implies=IMPLIES | MLP_HEAD,
        configs=("vilt",),
    ),
    Family(
        title="ViLT for NLVR2 (transformers' names)",
        signature=("vilt.embeddings.cls_token", "classifier.0.weight", "classifier.3.weight"),
        when=_two_images,
        rules=(*_transformers("vilt."), *answers("classifier", norm=1)),
        dropped=(_POSITION_IDS,),
        heads=("pair",),
        implies=IMPLIES | MLP_HEAD,
        configs=("vilt",),
    ),
    Family(
        title="ViLT for retrieval (transformers' names)",
        signature=("vilt.embeddings.cls_token", "rank_output.weight"),
        rules=(*_transformers("vilt."), Rule("head.classifier.{p}", "rank_output.{p}")),
        dropped=(_POSITION_IDS,),
        heads=("rank",),
        implies=IMPLIES,
        configs=("vilt",),
    ),
    *_before_fine_tuning(
        "ViLT from pre-training (transformers' names)",
        ("vilt.embeddings.cls_token", "mlm_score.transform.dense.weight"),
        _transformers("vilt."),
        (_POSITION_IDS, _MASKED_WORDS),
        ("vilt",),
    ),
    *_before_fine_tuning(
        "ViLT without a head (transformers' names)",
        ("embeddings.cls_token", "embeddings.text_embeddings.word_embeddings.weight"),
        _transformers(""),
        (_POSITION_IDS,),
        ("vilt",),
    ),
    Family(
        title="ViLT for VQA (its own names)",
        signature=("transformer.cls_token", "vqa_classifier.3.weight"),
        rules=(*_ORIGINAL, *answers("vqa_classifier", norm=1)),
        dropped=(_POSITION_IDS, _MASKED_WORDS, _MATCHING),
        heads=("vqa",),
        implies=IMPLIES | MLP_HEAD,
        trained_eps=RELEASED_EPS,
    ),
    Family(
        title="ViLT for NLVR2 (its own names)",
        signature=("transformer.cls_token", "nlvr2_classifier.3.weight"),
        rules=(*_ORIGINAL, *answers("nlvr2_classifier", norm=1)),
        dropped=(_POSITION_IDS, _MASKED_WORDS, _MATCHING),
        heads=("pair",),
        implies=IMPLIES | MLP_HEAD,
        trained_eps=RELEASED_EPS,
    ),
    Family(
        title="ViLT for retrieval (its own names)",
        signature=("transformer.cls_token", "rank_output.weight"),
        rules=(*_ORIGINAL, Rule("head.classifier.{p}", "rank_output.{p}")),
        dropped=(_POSITION_IDS, _MASKED_WORDS, _MATCHING),
        heads=("rank",),
        implies=IMPLIES,
        trained_eps=RELEASED_EPS,
    ),
    Family(
        title="ViLT from pre-training (its own names)",
        signature=("transformer.cls_token", "itm_score.fc.weight"),
        rules=(*_ORIGINAL, Rule("head.classifier.{p}", "itm_score.fc.{p}")),
        dropped=(_POSITION_IDS, _MASKED_WORDS, _RANKING),
        heads=("itm",),
        implies=IMPLIES,
        trained_eps=RELEASED_EPS,
    ),
    *_before_fine_tuning(
        "ViLT from pre-training (its own names)",
        ("transformer.cls_token", "mlm_score.transform.dense.weight"),
        _ORIGINAL,
        (_POSITION_IDS, _MASKED_WORDS, _MATCHING),
        trained_eps=RELEASED_EPS,
    ),
)

"""CLIP's checkpoints (Radford et al. 2021): under transformers' names, and under OpenAI's, which OpenCLIP keeps.

Their names do not show the activation: it is QuickGELU in all of OpenAI's checkpoints, but GELU in most others. The
config next to them says which, and so does `activation` of both towers in a model file.
"""

from __future__ import annotations

from torch import Tensor

from vlbench.architectures.checkpoints.rules import COUNTERS, Dropped, Family, Rule


def _row(table: Tensor) -> Tensor:
    """(1, 1, D)"""
    return table[None, None]


def _table(table: Tensor) -> Tensor:
    """(1, positions, D)"""
    return table[None]


def _transposed(matrix: Tensor) -> Tensor:
    """(outputs, inputs), as a linear layer has it; OpenAI has (inputs, outputs)."""
    return matrix.T


def _as_vector(number: Tensor) -> Tensor:
    """(1,)"""
    return number.reshape(1)


_SCALE = Rule("interaction.log_scale", "logit_scale", _as_vector)


def _transformers_tower(ours: str, theirs: str) -> tuple[Rule, ...]:
    layer = f"{theirs}.encoder.layers.{{n}}"
    return (
        Rule(
            f"{ours}.blocks.{{n}}.attention.qkv.{{p}}",
            tuple(f"{layer}.self_attn.{letter}_proj.{{p}}" for letter in "qkv"),
        ),
        Rule(f"{ours}.blocks.{{n}}.attention.out.{{p}}", f"{layer}.self_attn.out_proj.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.attention_norm.{{p}}", f"{layer}.layer_norm1.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp.expand.{{p}}", f"{layer}.mlp.fc1.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp.contract.{{p}}", f"{layer}.mlp.fc2.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp_norm.{{p}}", f"{layer}.layer_norm2.{{p}}"),
    )


def _openai_tower(ours: str, theirs: str) -> tuple[Rule, ...]:
    layer = f"{theirs}.resblocks.{{n}}"
    return (
        *(Rule(f"{ours}.blocks.{{n}}.attention.qkv.{p}", f"{layer}.attn.in_proj_{p}") for p in ("weight", "bias")),
        Rule(f"{ours}.blocks.{{n}}.attention.out.{{p}}", f"{layer}.attn.out_proj.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.attention_norm.{{p}}", f"{layer}.ln_1.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp.expand.{{p}}", f"{layer}.mlp.c_fc.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp.contract.{{p}}", f"{layer}.mlp.c_proj.{{p}}"),
        Rule(f"{ours}.blocks.{{n}}.mlp_norm.{{p}}", f"{layer}.ln_2.{{p}}"),
    )


_TRANSFORMERS = (
    Rule("text.words.weight", "text_model.embeddings.token_embedding.weight"),
    Rule("text.positions.weight", "text_model.embeddings.position_embedding.weight"),
    *_transformers_tower("text.encoder", "text_model"),
    Rule("text.projection.norm.{p}", "text_model.final_layer_norm.{p}"),
    Rule("text.projection.linear.weight", "text_projection.weight"),
    Rule("visual.patch.patch.weight", "vision_model.embeddings.patch_embedding.weight"),
    Rule("visual.patch.class_token", "vision_model.embeddings.class_embedding", _row),
    Rule("visual.patch.positions", "vision_model.embeddings.position_embedding.weight", _table),
    Rule("visual.norm.{p}", "vision_model.pre_layrnorm.{p}"),
    *_transformers_tower("visual.transformer", "vision_model"),
    Rule("visual.projection.norm.{p}", "vision_model.post_layernorm.{p}"),
    Rule("visual.projection.linear.weight", "visual_projection.weight"),
    _SCALE,
)
_OPENAI_TEXT = (
    Rule("text.words.weight", "token_embedding.weight"),
    Rule("text.positions.weight", "positional_embedding"),
    *_openai_tower("text.encoder", "transformer"),
    Rule("text.projection.norm.{p}", "ln_final.{p}"),
    Rule("text.projection.linear.weight", "text_projection", _transposed),
    _SCALE,
)
_OPENAI_VIT = (
    Rule("visual.patch.patch.weight", "visual.conv1.weight"),
    Rule("visual.patch.class_token", "visual.class_embedding", _row),
    Rule("visual.patch.positions", "visual.positional_embedding", _table),
    Rule("visual.norm.{p}", "visual.ln_pre.{p}"),
    *_openai_tower("visual.transformer", "visual.transformer"),
    Rule("visual.projection.norm.{p}", "visual.ln_post.{p}"),
    Rule("visual.projection.linear.weight", "visual.proj", _transposed),
)
_OPENAI_RESNET = (
    *(Rule(f"visual.backbone.stem.{index}.0.weight", f"visual.conv{index + 1}.weight") for index in range(3)),
    *(Rule(f"visual.backbone.stem.{index}.1.{{s}}", f"visual.bn{index + 1}.{{s}}") for index in range(3)),
    *(
        Rule(f"visual.backbone.stages.{stage}.{{n}}.{ours}", f"visual.layer{stage + 1}.{{n}}.{theirs}")
        for stage in range(4)
        for ours, theirs in (
            ("conv{m}.weight", "conv{m}.weight"),
            ("bn{m}.{s}", "bn{m}.{s}"),
            ("downsample.1.weight", "downsample.0.weight"),
            ("downsample.2.{s}", "downsample.1.{s}"),
        )
    ),
    Rule("visual.projection.positions", "visual.attnpool.positional_embedding", _table),
    Rule("visual.projection.attention.query.{p}", "visual.attnpool.q_proj.{p}"),
    Rule("visual.projection.attention.key_value.{p}", ("visual.attnpool.k_proj.{p}", "visual.attnpool.v_proj.{p}")),
    Rule("visual.projection.attention.out.{p}", "visual.attnpool.c_proj.{p}"),
)
_TIMM_TRUNK = (
    Rule("visual.backbone.model.{any}", "visual.trunk.{any}"),
    Rule("visual.projection.weight", "visual.head.proj.weight"),
)
_SIZES = tuple(
    Dropped(name, "a size of the model, which its tensors' shapes tell")
    for name in ("input_resolution", "context_length", "vocab_size")
)
_TEXT_NORMS = {"text.layer_norm_eps": 1e-5}
_BOTH_NORMS = _TEXT_NORMS | {"visual.layer_norm_eps": 1e-5}

CLIP_FAMILIES = (
    Family(
        title="CLIP under transformers' names",
        signature=("text_projection.weight", "vision_model.embeddings.class_embedding"),
        rules=_TRANSFORMERS,
        dropped=(Dropped("*.embeddings.position_ids", "numbers from 0 on, that PyTorch's slices stand for"),),
        implies=_BOTH_NORMS,
        configs=("clip",),
    ),
    Family(
        title="CLIP of a ViT under OpenAI's names",
        signature=("ln_final.weight", "visual.class_embedding"),
        rules=(*_OPENAI_TEXT, *_OPENAI_VIT),
        dropped=_SIZES,
        implies=_BOTH_NORMS,
        configs=("clip", "open_clip"),
    ),
    Family(
        title="CLIP of a ResNet under OpenAI's names",
        signature=("ln_final.weight", "visual.attnpool.c_proj.weight"),
        rules=(*_OPENAI_TEXT, *_OPENAI_RESNET),
        dropped=(*_SIZES, COUNTERS),
        implies=_TEXT_NORMS,
        configs=("open_clip",),
    ),
    Family(
        title="CLIP of a timm model under OpenCLIP's names",
        signature=("ln_final.weight", "visual.head.proj.weight"),
        rules=(*_OPENAI_TEXT, *_TIMM_TRUNK),
        dropped=(*_SIZES, COUNTERS),
        implies=_TEXT_NORMS | {"text.activation": "gelu"},
    ),
)

"""Rules for what models after BERT have in common: embeddings, layers, and heads behind a pooler."""

from __future__ import annotations

from vlbench.architectures.checkpoints.rules import Rule


def embeddings(theirs: str, *, words: str = "word_embeddings") -> tuple[Rule, ...]:
    return (
        Rule("text.words.weight", f"{theirs}.{words}.weight"),
        Rule("text.positions.weight", f"{theirs}.position_embeddings.weight"),
        Rule("text.segments.weight", f"{theirs}.token_type_embeddings.weight"),
        Rule("text.norm.{p}", f"{theirs}.LayerNorm.{{p}}"),
    )


def layer(
    ours: str,
    theirs: str,
    *,
    attention: str = "attention",
    intermediate: str = "intermediate",
    output: str = "output",
) -> tuple[Rule, ...]:
    """A post-norm layer; query, key and value become one product."""
    return (
        Rule(f"{ours}.attention.qkv.{{p}}", tuple(f"{theirs}.{attention}.self.{name}.{{p}}" for name in QKV)),
        Rule(f"{ours}.attention.out.{{p}}", f"{theirs}.{attention}.output.dense.{{p}}"),
        Rule(f"{ours}.attention_norm.{{p}}", f"{theirs}.{attention}.output.LayerNorm.{{p}}"),
        Rule(f"{ours}.mlp.expand.{{p}}", f"{theirs}.{intermediate}.dense.{{p}}"),
        Rule(f"{ours}.mlp.contract.{{p}}", f"{theirs}.{output}.dense.{{p}}"),
        Rule(f"{ours}.mlp_norm.{{p}}", f"{theirs}.{output}.LayerNorm.{{p}}"),
    )


QKV = ("query", "key", "value")


def pooler(theirs: str) -> Rule:
    return Rule("head.pooler.dense.{p}", f"{theirs}.pooler.dense.{{p}}".removeprefix("."))


def answers(theirs: str, *, expand: int = 0, norm: int, classifier: int = 3) -> tuple[Rule, ...]:
    """The classifier of answers, a Sequential whose members are named by their index."""
    return (
        Rule("head.expand.{p}", f"{theirs}.{expand}.{{p}}"),
        Rule("head.norm.{p}", f"{theirs}.{norm}.{{p}}"),
        Rule("head.classifier.{p}", f"{theirs}.{classifier}.{{p}}"),
    )

"""What a runtime buys: the latency of a model through several backends and in several precisions, by stage."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from vlbench.regression.compare.effects import Effect, independent
from vlbench.report.frames import Results
from vlbench.report.labels import tell_apart
from vlbench.report.views import contended_mark, stage_segments
from vlbench.runner.execution import execution_order, is_reference, runtime_of
from vlbench.runner.records import Result
from vlbench.tables.numbers import bracketed, short_number

WHOLE_MODEL = "whole model"  # the only segment of a pass that has no stages
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeBar:
    """A measurement of a model.

    Attributes:
        name: its backend and precision, and the scope if that is the whole model.
        segments: each stage, or step of one, and its share of the latency in ms; they sum to the latency.
        effect: the latency as a multiple of that of eager PyTorch in fp32; None of that itself, or without it.
    """

    name: str
    result: Result
    latency_ms: float
    segments: tuple[tuple[str, float], ...]
    effect: Effect | None

    @property
    def words(self) -> str:
        """`198 ms, 0.28 times [0.26, 0.31]`"""
        ratio, _, interval = ratio_words(self.effect).partition(" ") if self.effect else ("", "", "")
        return f"{short_number(self.latency_ms)} ms" + (f", {ratio} times {interval}".rstrip() if ratio else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeGroup:
    """The measurements of a model that differ only in backend, precision and scope: eager PyTorch in fp32 first."""

    label: str
    family: str
    folder: str
    bars: tuple[RuntimeBar, ...]


def runtime_groups(results: Results) -> list[RuntimeGroup]:
    """One for each model and setting that was measured through several backends or in several precisions."""
    groups: dict[Hashable, list[tuple[str, Result]]] = {}
    for folder, _, result in results.named:
        if result.status == "ok" and result.latency_ms:
            groups.setdefault((folder, *_same_settings(result)), []).append((folder, result))
    several = [group for group in groups.values() if len({execution_order(result) for _, result in group}) > 1]
    firsts = [group[0] for group in several]
    names = [f"{result.model} · {folder}" if len(results.folders) > 1 else result.model for folder, result in firsts]
    labels = tell_apart([result for _, result in firsts], names, ("backend", "precision", "scope"))
    return [
        RuntimeGroup(label=label, family=result.family, folder=folder, bars=_bars([result for _, result in group]))
        for label, (folder, result), group in zip(labels, firsts, several, strict=True)
    ]


def _same_settings(result: Result) -> tuple[Hashable, ...]:
    return result.spec_hash, result.device, result.batch, result.l2, result.machine.model_dump_json()


def _bars(results: Sequence[Result]) -> tuple[RuntimeBar, ...]:
    ordered = sorted(results, key=execution_order)
    first = ordered[0]
    reference = first if is_reference(runtime_of(first), first.precision) else None
    return tuple(_bar(result, reference if result is not first else None) for result in ordered)


def _bar(result: Result, reference: Result | None) -> RuntimeBar:
    assert result.latency_ms
    latency_ms = result.latency_ms.median
    staged = [] if result.scope == "model" else stage_segments(result)
    total = sum(width for _, width, _ in staged)
    effect = None
    if reference and reference.latency_ms:
        effect = independent(reference.latency_ms.by_restart, result.latency_ms.by_restart, CONFIDENCE)
    scope = f", {WHOLE_MODEL}" if result.scope == "model" else ""
    return RuntimeBar(
        name=f"{result.backend} {result.precision}{scope}{contended_mark(result)}",
        result=result,
        latency_ms=latency_ms,
        segments=tuple((stage, latency_ms * width / total) for stage, width, _ in staged)
        or ((WHOLE_MODEL, latency_ms),),
        effect=effect,
    )


def ratio_words(effect: Effect) -> str:
    """`0.28 [0.26, 0.31]`"""
    return bracketed(effect.ratio, (effect.low, effect.high), "{:.2f}".format)

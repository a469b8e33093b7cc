"""Compares two sets of results: the effect, the verdict, the stages and the gates of each measurement in both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vlbench.measuring.rank_tests import least_pairs, least_restarts
from vlbench.measuring.statistics import LatencySummary
from vlbench.regression.compare.effects import Effect, Estimator, independent, paired
from vlbench.regression.compare.matching import Names, Pair, match, why_the_machine
from vlbench.regression.compare.outcomes import (
    COMPARISON_SCHEMA,
    EXIT_CODES,
    CellOutcome,
    Comparison,
    Overall,
    StageOutcome,
    Thresholds,
)
from vlbench.regression.compare.stages import TOTAL, moved_stage
from vlbench.regression.compare.verdicts import Decision, confidence_for, decide, gates_of, one_line
from vlbench.runner.records import Result

LEAST: dict[Estimator, Callable[[float], int]] = {independent: least_restarts, paired: least_pairs}


def compare(
    base: Sequence[Result],
    head: Sequence[Result],
    *,
    names: Names = ("BASE", "HEAD"),
    thresholds: Thresholds | None = None,
    force: bool = False,
    estimator: Estimator = independent,
) -> Comparison:
    """Compares HEAD to BASE.

    Raises InputError where they cannot be compared, as `match` does.

    Args:
        names: of BASE and HEAD, for messages.
        thresholds: by default 5% for every model.
        force: compare although machines or settings differ.
        estimator: `independent`, or `paired` for restarts that were measured in lockstep.
    """
    matched = match(base, head, names=names, force=force)
    timed = [pair for pair in matched.pairs if _why_not(pair) is None]
    judge = _Judge(
        confidence=confidence_for(len(timed)),
        stage_confidence=confidence_for(sum(len(_stages_of(pair)) for pair in timed)),
        thresholds=thresholds or Thresholds(),
        estimator=estimator,
        one_machine=estimator is not paired and not matched.differences,
    )
    cells = tuple(map(judge.cell, matched.pairs))
    verdict = _overall(cells, complete=not (matched.only_in_base or matched.only_in_head))
    return Comparison(
        schema=COMPARISON_SCHEMA,
        base=names[0],
        head=names[1],
        verdict=verdict,
        exit_code=EXIT_CODES[verdict],
        confidence=judge.confidence,
        stage_confidence=judge.stage_confidence,
        cells=cells,
        only_in_base=matched.only_in_base,
        only_in_head=matched.only_in_head,
        differences=matched.differences,
        notes=matched.notes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """How the measurements of one comparison are judged."""

    confidence: float
    stage_confidence: float
    thresholds: Thresholds
    estimator: Estimator
    one_machine: bool  # measured on the same machine, but at different times

    def cell(self, pair: Pair) -> CellOutcome:
        base, head = pair.base.latency_ms, pair.head.latency_ms
        threshold = self.thresholds.of(pair.base.model)
        effect, decision = None, Decision(verdict="unknown", reason=_why_not(pair))
        if decision.reason is None:
            assert base
            assert head
            effect, decision = self._judged(base, head, threshold, self.confidence)
            if self.one_machine and decision.verdict in ("slower", "faster"):
                machine = why_the_machine(pair.base, pair.head, effect)
                decision = Decision(verdict="unknown", reason=machine) if machine else decision
        moved = None
        if effect and decision.verdict in ("faster", "slower"):
            moved = moved_stage(pair.base.latency_ms_by_stage or {}, pair.head.latency_ms_by_stage or {}, effect.ratio)
        return CellOutcome(
            cell=pair.name,
            model=pair.base.model,
            threshold=threshold,
            restarts=(_restarts(base), _restarts(head)),
            base_ms=base.median if base else None,
            head_ms=head.median if head else None,
            effect=effect,
            verdict=decision.verdict,
            reason=decision.reason,
            moved=moved,
            stages=tuple(self._stage(pair, name, threshold) for name in (_stages_of(pair) if effect else ())),
            gates=gates_of(pair.base, pair.head),
        )

    def _stage(self, pair: Pair, name: str, threshold: float) -> StageOutcome:
        assert pair.base.latency_ms_by_stage
        assert pair.head.latency_ms_by_stage
        base, head = pair.base.latency_ms_by_stage[name], pair.head.latency_ms_by_stage[name]
        effect, decision = self._judged(base, head, threshold, self.stage_confidence)
        return StageOutcome(
            stage=name, base_ms=base.median, head_ms=head.median, effect=effect, verdict=decision.verdict
        )

    def _judged(
        self, base: LatencySummary, head: LatencySummary, threshold: float, confidence: float
    ) -> tuple[Effect, Decision]:
        effect = self.estimator(base.by_restart, head.by_restart, confidence)
        decision = decide(
            effect,
            threshold,
            restarts=(_restarts(base), _restarts(head)),
            confidence=confidence,
            least=LEAST.get(self.estimator, least_restarts),
        )
        return effect, decision


def _why_not(pair: Pair) -> str | None:
    """Why the latencies of a pair cannot be compared; None where they can."""
    sides = {"BASE": pair.base, "HEAD": pair.head}
    for side, result in sides.items():
        if result.status != "ok":
            return f"{result.status} in {side}: {one_line(result.error)}"
    for side, result in sides.items():
        if result.latency_ms is None or min(result.latency_ms.by_restart, default=0) <= 0:
            return f"no latency measured in {side}"
    contended = [side for side, result in sides.items() if result.noise and result.noise.verdict == "contended"]
    if contended:
        noise = sides[contended[0]].noise
        why = f" ({noise.reasons[0].rstrip('.')})" if noise and noise.reasons else ""
        return f"{' and '.join(contended)} measured on a contended machine{why}; measure again on an idle one"
    return None


def _stages_of(pair: Pair) -> list[str]:
    """The stages that were timed on both sides, in the order of HEAD."""
    base, head = pair.base.latency_ms_by_stage or {}, pair.head.latency_ms_by_stage or {}
    return [name for name in head if name in base and name != TOTAL and _timed(base[name]) and _timed(head[name])]


def _timed(summary: LatencySummary) -> bool:
    """Whether a stage takes long enough for the clock to see it."""
    return min(summary.by_restart, default=0.0) > 0


def _restarts(summary: LatencySummary | None) -> int:
    return len(summary.by_restart) if summary else 0


def _overall(cells: Sequence[CellOutcome], *, complete: bool) -> Overall:
    if any(cell.regressed for cell in cells):
        return "regression"
    if not complete or any(cell.verdict == "unknown" for cell in cells):
        return "cannot tell"
    return "no regression"

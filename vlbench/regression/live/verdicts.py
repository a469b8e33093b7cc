"""Corrects verdicts by control and confirmation: with a bias they are only advice, and a change must be seen twice."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlbench.measuring.statistics import reaches
from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import EXIT_CODES, CellOutcome, Comparison, Gate, Overall
from vlbench.regression.compare.verdicts import change, line_of
from vlbench.regression.live.record import LiveFailure, LiveWorkload, Replicate, why_disturbed

RESTARTS = re.compile(r"measure with --restarts (\d+)")  # the advice for results folders, which have restarts


def contention(replicates: Sequence[Replicate]) -> str | None:
    """What else kept the machine busy, if it did in half of the replicates or more."""
    reasons = [reason for replicate in replicates if (reason := why_disturbed(replicate))]
    return (
        f"{reasons[0]} ({len(reasons)} of {len(replicates)} replicates)"
        if 2 * len(reasons) >= len(replicates)
        else None
    )


def is_biased(control: Effect, threshold: float) -> bool:
    """Whether two processes of one side differ, for sure and by enough to sway a verdict: half of the limit or more."""
    size = max(control.ratio, 1 / control.ratio) - 1
    return control.real and reaches(size, line_of(threshold) / 2)


def with_controls(comparison: Comparison, workloads: Sequence[LiveWorkload]) -> Comparison:
    """The comparison, corrected by the control and the confirmation of each workload."""
    cells = tuple(_confirmed(cell, workload) for cell, workload in zip(comparison.cells, workloads, strict=True))
    remarks = (
        *(f"Settings: {line}" for line in comparison.differences),
        *(line for workload in workloads for line in _remarks(workload)),
    )
    verdict: Overall
    pairs = zip(cells, workloads, strict=True)
    slower = any(cell.verdict == "slower" and not workload.advisory for cell, workload in pairs)
    if slower or any(cell.regressions for cell in cells):
        verdict = "regression"
    elif any(workload.advisory for workload in workloads) or any(cell.verdict == "unknown" for cell in cells):
        verdict = "cannot tell"
    else:
        verdict = "no regression"
    return comparison.model_copy(
        update={
            "cells": cells,
            "remarks": remarks,
            "differences": (),
            "verdict": verdict,
            "exit_code": EXIT_CODES[verdict],
        }
    )


def with_failures(comparison: Comparison, failed: Sequence[LiveFailure]) -> Comparison:
    """The comparison with what could not be measured: a regression if only the head cannot be, else unknown."""
    if not failed:
        return comparison
    verdict: Overall = "cannot tell"
    if comparison.verdict == "regression" or any(failure.head_only for failure in failed):
        verdict = "regression"
    update = {
        "cells": (*comparison.cells, *map(_not_measured, failed)),
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
    }
    return comparison.model_copy(update=update)


def _not_measured(failure: LiveFailure) -> CellOutcome:
    message = f"was ok, now failed: {failure.reason}"
    broken = Gate(figure="status", base="ok", head="failed", verdict="regression", message=message)
    return CellOutcome(
        cell=failure.name,
        model=failure.name,
        threshold=failure.threshold,
        restarts=(0, 0),
        base_ms=None,
        head_ms=None,
        effect=None,
        verdict="unknown",
        reason=failure.reason,
        moved=None,
        stages=(),
        gates=(broken,) if failure.head_only else (),
    )


def _confirmed(cell: CellOutcome, workload: LiveWorkload) -> CellOutcome:
    """The outcome; its verdict is unknown where the second set of replicates does not show the change again."""
    reason = RESTARTS.sub(r"a larger --budget helps, for \1 replicates", cell.reason) if cell.reason else None
    cell = cell.model_copy(update={"cell": cell.model, "reason": reason})
    if workload.confirmation is None:
        return cell
    if workload.confirmation.confirmed or cell.verdict not in ("slower", "faster"):
        return cell
    count = len(workload.confirmation_replicates)
    reason = f"{cell.verdict} at first, but not in {count} more replicates; a larger --budget helps"
    return cell.model_copy(update={"verdict": "unknown", "reason": reason, "moved": None})


def _remarks(workload: LiveWorkload) -> list[str]:
    control = f"{change(workload.control.ratio)}{_interval(workload.control)}"
    biased = "; biased, so the verdict is only advice" if workload.biased else ""
    lines = [f"{workload.name}: control, base against base: {control}{biased}"]
    if workload.disturbed:
        lines.append(f"{workload.name}: contended: {workload.disturbed}; the verdict is only advice")
    if workload.confirmation:
        effect = workload.confirmation.effect
        verb = "confirmed" if workload.confirmation.confirmed else "not confirmed"
        count = len(workload.confirmation_replicates)
        lines.append(f"{workload.name}: {verb} by {count} more replicates: {change(effect.ratio)}{_interval(effect)}")
    return lines


def _interval(effect: Effect) -> str:
    if effect.low is None or effect.high is None:
        return ", too few replicates for an interval"
    return f" [{change(effect.low)}, {change(effect.high)}]"

"""What control and confirmation make of a verdict: a bias turns it into advice, a change not seen twice is none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlbench.regression.compare.effects import Effect
from vlbench.regression.compare.outcomes import EXIT_CODES, CellOutcome, Comparison, Gate, Overall
from vlbench.regression.compare.verdicts import change, line_of
from vlbench.regression.live.record import LiveFailure, LiveSubject, Replicate, why_disturbed

RESTARTS = re.compile(r"measure with --restarts (\d+)")  # advice for folders of results, where replicates are restarts


def contention(replicates: Sequence[Replicate]) -> str | None:
    """What kept the machine busy, where that was so in half of the replicates or more."""
    reasons = [why for one in replicates if (why := why_disturbed(one))]
    return (
        f"{reasons[0]} ({len(reasons)} of {len(replicates)} replicates)"
        if 2 * len(reasons) >= len(replicates)
        else None
    )


def is_biased(control: Effect, threshold: float) -> bool:
    """Whether two processes of one side differ for sure, and by enough to sway a verdict: half the line or more."""
    size = max(control.ratio, 1 / control.ratio) - 1
    return control.real and size >= line_of(threshold) / 2


def with_controls(comparison: Comparison, subjects: Sequence[LiveSubject]) -> Comparison:
    """The comparison after control and confirmation have had their say."""
    cells = tuple(_settled(cell, subject) for cell, subject in zip(comparison.cells, subjects, strict=True))
    remarks = (
        *(f"Settings: {line}" for line in comparison.differences),
        *(line for subject in subjects for line in _lines(subject)),
    )
    advisory = any(subject.advisory for subject in subjects)
    verdict: Overall
    slower = any(cell.verdict == "slower" and not one.advisory for cell, one in zip(cells, subjects, strict=True))
    if slower or any(cell.regressions for cell in cells):
        verdict = "regression"
    elif advisory or any(cell.verdict == "unknown" for cell in cells):
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
    """The comparison with what could not be measured: a regression where the head alone cannot, else unknown."""
    if not failed:
        return comparison
    verdict: Overall = "cannot tell"
    if comparison.verdict == "regression" or any(one.head_alone for one in failed):
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
        gates=(broken,) if failure.head_alone else (),
    )


def _settled(cell: CellOutcome, subject: LiveSubject) -> CellOutcome:
    """A change that the second set of replicates does not show again is no verdict."""
    reason = RESTARTS.sub(r"a larger --budget helps, for \1 replicates", cell.reason) if cell.reason else None
    cell = cell.model_copy(update={"cell": cell.model, "reason": reason})
    if subject.confirmation is None:
        return cell
    if subject.confirmation.confirmed or cell.verdict not in ("slower", "faster"):
        return cell
    reason = f"{cell.verdict} at first, but not in {len(subject.confirming)} replicates more; a larger --budget helps"
    return cell.model_copy(update={"verdict": "unknown", "reason": reason, "moved": None})


def _lines(subject: LiveSubject) -> list[str]:
    control = f"{change(subject.control.ratio)}{_interval(subject.control)}"
    lines = [
        f"{subject.name}: control, base against base: {control}"
        + ("; biased: the verdict is advice alone" if subject.biased else "")
    ]
    if subject.disturbed:
        lines.append(f"{subject.name}: contended: {subject.disturbed}; the verdict is advice alone")
    if subject.confirmation:
        again = f"{change(subject.confirmation.effect.ratio)}{_interval(subject.confirmation.effect)}"
        lines.append(
            f"{subject.name}: {'' if subject.confirmation.confirmed else 'not '}confirmed by "
            f"{len(subject.confirming)} replicates more: {again}"
        )
    return lines


def _interval(effect: Effect) -> str:
    if effect.low is None or effect.high is None:
        return ", too few replicates for an interval"
    return f" [{change(effect.low)}, {change(effect.high)}]"

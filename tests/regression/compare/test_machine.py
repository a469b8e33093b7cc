"""A machine that itself became slower between two results, told by the kernel that every restart times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.regression.compare.conftest import made_up, speeds
from vlbench.measuring.noise import Interference
from vlbench.regression.compare.comparison import compare
from vlbench.regression.compare.effects import paired
from vlbench.regression.compare.outcomes import CellOutcome
from vlbench.runner.records import Restart, Result, WarmUp

CALM, OTHER = speeds(3, noise=0.002), speeds(4, noise=0.002)


def observed(factor: float, references: Sequence[float], **values: Any) -> Result:
    """A cell slower by a factor, and what the kernel took in each of its restarts."""
    drawn = [factor * speed for speed in OTHER] if factor != 1 else CALM
    restarts = tuple(
        Restart(
            latency_ms=(100 * speed,),
            warm_up=WarmUp(n=1, steady=True),
            interference=Interference(
                wall_seconds=1.0,
                cpu_seconds=1.0,
                cores=2,
                other_processes_cores=0.0,
                reference_kernel_ms=(reference,) * 3,
            ),
            measured_at="2026-01-31T00:00:00+00:00",
        )
        for speed, reference in zip(drawn, references, strict=True)
    )
    return made_up(drawn=drawn, restarts=restarts, **values)


def the_cell(base: Result, head: Result, **options: Any) -> CellOutcome:
    (cell,) = compare([base], [head], **options).cells
    return cell


QUIET = [0.34 * speed for speed in speeds(5, noise=0.002)]
SLOWED = [0.34 * 1.04 * speed for speed in speeds(6, noise=0.002)]


def test_what_the_machine_did_itself_is_unknown_and_says_so() -> None:
    cell = the_cell(observed(1, QUIET), observed(1.05, SLOWED))
    assert cell.verdict == "unknown"
    assert cell.reason
    assert cell.reason.startswith("the machine itself was 4.")
    assert "% slower in HEAD, as its reference kernel says; measure both again, or use vlbench ab" in cell.reason
    assert cell.moved is None
    assert cell.effect
    assert cell.effect.ratio == pytest.approx(1.05, abs=0.01)


def test_a_machine_that_became_faster_explains_no_faster_cell() -> None:
    cell = the_cell(observed(1.05, SLOWED), observed(1, QUIET))
    assert (cell.verdict, (cell.reason or "")[:24]) == ("unknown", "the machine itself was 3")


@pytest.mark.parametrize(
    ("factor", "references"),
    [
        (1.05, QUIET),  # it did not move
        (1.05, [1 / reference for reference in SLOWED]),  # it moved by far, the other way
        (1.20, SLOWED),  # it moved by much less
        (1.05, [0.34 * (1 + 0.1 * (-1) ** place) for place in range(15)]),  # nothing is sure
    ],
)
def test_a_change_that_the_machine_does_not_explain_is_called(factor: float, references: list[float]) -> None:
    base = [1 / reference for reference in QUIET] if references[0] > 1 else QUIET
    cell = the_cell(observed(1, base), observed(factor, references))
    assert cell.verdict == "slower"


def test_where_nothing_tells_of_the_machine_the_rule_is_as_before() -> None:
    base, head = observed(1, QUIET), observed(1.05, SLOWED)
    newer = head.model_copy(update={"machine": head.machine.model_copy(update={"numpy": "99.0"})})
    assert the_cell(base, newer).verdict == "slower"
    blind = [one.model_copy(update={"interference": None}) for one in head.restarts]
    assert the_cell(base, head.model_copy(update={"restarts": tuple(blind)})).verdict == "slower"
    assert the_cell(base, head.model_copy(update={"restarts": ()})).verdict == "slower"


def test_sides_in_lockstep_and_other_machines_by_force_are_compared_as_they_are() -> None:
    base, head = observed(1, QUIET), observed(1.05, SLOWED)
    assert the_cell(base, head, estimator=paired).verdict == "slower"
    other = head.model_copy(update={"machine": head.machine.model_copy(update={"cpu": "Another"})})
    assert the_cell(base, other, force=True).verdict == "slower"

"""The way to a verdict, with workers whose speeds are made up: control, confirmation, exact gates, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests.regression.live.made_up import FAKE
from vlbench.errors import HeadError, InputError, WorkerError
from vlbench.measuring.machine import describe_machine
from vlbench.regression.compare.outcomes import Thresholds
from vlbench.regression.live.record import BASE, CONTROL, HEAD, LiveComparison
from vlbench.regression.live.run import LiveRequest, compare_live
from vlbench.regression.live.sides import Side
from vlbench.runner.worker_client import Worker

MACHINE = describe_machine(threads=1, gpu=None)


def live(budget: float = 0.01, callables: Sequence[str] = ("made.up:function",), **heads: Any) -> LiveComparison:
    """A comparison of made-up workers; `head`, `control` and `base` change the plan of each."""
    request = LiveRequest(
        callables=callables,
        settings={"threads": 1},
        thresholds=Thresholds(),
        budget_seconds=budget,
    )
    with ExitStack() as stack:
        workers = {name: stack.enter_context(fake(name, heads.get(name, {}))) for name in (BASE, CONTROL, HEAD)}
        return compare_live(request, Side(name=BASE, label="one"), Side(name=HEAD, label="other"), workers)


def fake(name: str, changes: Mapping[str, Any]) -> Worker:
    plan = {
        "seed": name,
        "machine": MACHINE.model_dump_json(),
        "speeds": [0.83, 1, 1.17],
        "factor": 1,
        "until": 1000,
        "stage": "visual",
        "peak": 100_000_000,
        "interference": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "cores": 2, "other_processes_cores": 0.0},
    }
    return Worker(1, command=[sys.executable, "-c", FAKE, json.dumps(plan | dict(changes))])


QUIET = {"speeds": [1]}


def test_equal_sides_are_the_same() -> None:
    found = live(base=QUIET, control=QUIET, head=QUIET)
    (cell,) = found.comparison.cells
    assert (cell.verdict, found.comparison.exit_code) == ("same", 0)
    (workload,) = found.workloads
    assert not workload.biased
    assert workload.confirmation is None
    assert len(workload.replicates) == 8


@pytest.mark.parametrize("factor", [1.3, 0.6])
def test_a_change_is_confirmed_by_other_replicates_and_its_stage_named(factor: float) -> None:
    found = live(base=QUIET, control=QUIET, head=QUIET | {"factor": factor})
    (cell,), (workload,) = found.comparison.cells, found.workloads
    assert cell.verdict == ("slower" if factor > 1 else "faster")
    assert found.comparison.exit_code == (1 if factor > 1 else 0)
    assert cell.moved
    assert cell.moved.stage == "visual"
    assert workload.confirmation
    assert workload.confirmation.confirmed
    assert len(workload.confirmation_replicates) == 8
    assert cell.effect
    assert cell.effect.ratio == pytest.approx(0.7 + 0.3 * factor, rel=0.02)
    assert any("confirmed by 8 more replicates: " in line for line in found.comparison.remarks)


def test_a_change_that_is_not_seen_again_is_no_verdict() -> None:
    """The head is slower for its first eight processes alone."""
    found = live(base=QUIET, control=QUIET, head=QUIET | {"factor": 1.3, "until": 8})
    (cell,), (workload,) = found.comparison.cells, found.workloads
    assert (cell.verdict, found.comparison.exit_code) == ("unknown", 3)
    assert workload.confirmation
    assert not workload.confirmation.confirmed
    assert any("not confirmed by 8 more replicates" in line for line in found.comparison.remarks)


def test_a_biased_control_turns_the_verdict_into_advice() -> None:
    found = live(base=QUIET, control=QUIET | {"factor": 1.2}, head=QUIET | {"factor": 1.6})
    (cell,), (workload,) = found.comparison.cells, found.workloads
    assert workload.biased
    assert cell.verdict == "slower"
    assert found.comparison.exit_code == 3
    assert any("the verdict is only advice" in line for line in found.comparison.remarks)


def test_a_contended_machine_turns_the_verdict_into_advice() -> None:
    burner = {"interference": {"wall_seconds": 1.0, "cpu_seconds": 1.0, "cores": 2, "other_processes_cores": 1.0}}
    found = live(budget=1, base=QUIET, control=QUIET, head=QUIET | burner | {"factor": 1.6})
    (cell,), (workload,) = found.comparison.cells, found.workloads
    assert cell.verdict == "slower"
    assert workload.disturbed
    assert "1.00 of 2 cores busy on average (16 of 16 replicates)" in workload.disturbed
    assert found.comparison.exit_code == 3


def test_speeds_drawn_by_each_process_are_no_change() -> None:
    found = live(budget=3)
    assert found.comparison.exit_code != 1
    (workload,) = found.workloads
    assert len(workload.replicates) > 8, "where it cannot tell, it goes on while the budget lasts"
    assert "--restarts" not in str(found.comparison.cells[0].reason), "which is no option of ab"


def test_memory_that_grew_is_a_regression_whatever_the_times() -> None:
    found = live(base=QUIET, control=QUIET, head=QUIET | {"peak": 103_000_000})
    assert found.comparison.exit_code == 1
    assert [gate.figure for gate in found.comparison.cells[0].regressions] == ["peak_memory_bytes"]


@pytest.mark.parametrize(
    ("how", "said"), [("deadly", "exit status 1 without a result: no luck"), ("refused", "no such function")]
)
def test_what_the_head_alone_cannot_do_is_a_regression_and_the_others_have_their_verdict(how: str, said: str) -> None:
    names = ["a:first", "a:second", "a:third"]
    found = live(callables=names, base=QUIET, control=QUIET, head=QUIET | {how: ["a:second"]})
    verdicts = {cell.model: cell.verdict for cell in found.comparison.cells}
    assert verdicts == {"a:first": "same", "a:third": "same", "a:second": "unknown"}
    broken = found.comparison.cells[-1]
    assert said in (broken.reason or "")
    assert [gate.figure for gate in broken.regressions] == ["status"]
    assert [(one.name, one.reason, one.head_only) for one in found.failed] == [("a:second", broken.reason, True)]
    assert found.comparison.exit_code == 1
    assert LiveComparison.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize("side", [BASE, CONTROL])
def test_what_the_base_cannot_do_either_is_unknown(side: str) -> None:
    plans = {BASE: QUIET, CONTROL: QUIET, HEAD: QUIET}
    found = live(callables=["a:first", "a:second"], **plans | {side: QUIET | {"deadly": ["a:second"]}})
    assert [cell.verdict for cell in found.comparison.cells] == ["same", "unknown"]
    assert found.comparison.exit_code == 3


def test_a_slowdown_is_a_regression_though_another_subject_failed() -> None:
    deadly = QUIET | {"deadly": ["a:second"]}
    found = live(
        callables=["a:first", "a:second"], base=deadly, control=deadly, head=deadly | {"factors": {"a:first": 1.5}}
    )
    assert [cell.verdict for cell in found.comparison.cells] == ["slower", "unknown"]
    assert found.comparison.exit_code == 1


def test_the_record_gives_all_back() -> None:
    found = live(base=QUIET, control=QUIET, head=QUIET)
    assert LiveComparison.model_validate_json(found.model_dump_json(by_alias=True)) == found
    replicate = found.workloads[0].replicates[0]
    assert set(replicate) == {BASE, CONTROL, HEAD}
    assert len({len(samples.latency_ms) for samples in replicate.values()}) == 1


def test_a_model_that_one_side_does_not_know_is_bad_input_of_that_side() -> None:
    request = LiveRequest(models=["vlit"], settings={"threads": 1}, thresholds=Thresholds(), budget_seconds=1)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(fake(name, {})) for name in (BASE, CONTROL, HEAD)}
        with pytest.raises(InputError, match=r"base \(one\): no model 'vlit'"):
            compare_live(request, Side(name=BASE, label="one"), Side(name=HEAD, label="other"), workers)


@pytest.mark.parametrize(("dying", "kind"), [((HEAD,), HeadError), ((BASE, CONTROL, HEAD), WorkerError)])
def test_a_side_that_dies_is_named(dying: Sequence[str], kind: type[Exception]) -> None:
    plans = {name: QUIET | ({"deadly": ["a:b"]} if name in dying else {}) for name in (BASE, CONTROL, HEAD)}
    with pytest.raises(WorkerError, match="the worker ended with exit status 1 without a result: no luck") as raised:
        live(callables=["a:b"], **plans)
    assert type(raised.value) is kind
    assert str(raised.value).startswith(f"{dying[0]}: ")

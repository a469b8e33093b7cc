"""What is timed, how often, and that nothing is left behind on the model; on a clock that only the tests move."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch import nn

from tests.gpu.fake_cuda import Clock
from vlbench.measuring import latency
from vlbench.measuring.latency import PassTimer

CPU = torch.device("cpu")


clock = Clock()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "time", clock)


class Sleeper(nn.Module):
    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.hooked: list[bool] = []

    def forward(self) -> None:
        clock.sleep(self.milliseconds / 1e3)
        self.hooked.append(bool(self._forward_hooks))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = Sleeper(2), Sleeper(6)

    def forward(self) -> None:
        self.short()
        self.long()
        self.short()


def timer(forward: Callable[[], object], **stages: nn.Module) -> PassTimer:
    return PassTimer(forward, stages, CPU)


def test_stages_and_the_rest_sum_to_the_total_and_a_stage_called_twice_counts_twice() -> None:
    pair = Pair()
    by_stage = timer(pair, short=pair.short, long=pair.long).by_stage(1)
    medians = {name: median(samples) for name, samples in by_stage.items()}
    assert medians["short"] == pytest.approx(4, rel=0.1)
    assert medians["long"] == pytest.approx(6, rel=0.1)
    assert medians["total"] == pytest.approx(10, rel=0.1)
    assert len(set(map(len, by_stage.values()))) == 1
    for total, *parts in zip(*(by_stage[name] for name in ("total", "short", "long", "rest")), strict=True):
        assert sum(parts) == pytest.approx(total)
    assert 0 < medians["rest"] < 0.2


def test_a_step_within_a_stage_is_no_part_of_the_rest() -> None:
    pair = Pair()
    by_stage = PassTimer(pair, {"visual": pair, "visual.long": pair.long}, CPU).by_stage(0.1)
    assert median(by_stage["rest"]) < 0.5
    assert median(by_stage["visual.long"]) == pytest.approx(6, rel=0.1)


def test_end_to_end_is_timed_with_nothing_hooked() -> None:
    pair = Pair()
    passes = timer(pair, short=pair.short)
    passes.end_to_end(0.1)
    assert not any(pair.short.hooked)
    pair.short.hooked.clear()
    passes.by_stage(0.1)
    assert all(pair.short.hooked)
    assert not pair.short._forward_hooks
    assert not pair.short._forward_pre_hooks


def test_the_time_is_kept_and_a_slow_pass_still_gets_its_least_samples() -> None:
    start = clock.monotonic()
    assert len(timer(Sleeper(1)).end_to_end(0.3)) > 30
    assert clock.monotonic() - start < 1
    assert len(timer(Sleeper(30)).end_to_end(0.01)) == 1
    assert len(timer(Sleeper(30)).end_to_end(0.01, least=4)) == 4
    sleeper = Sleeper(30)
    assert {name: len(samples) for name, samples in timer(sleeper, all=sleeper).by_stage(0.01).items()} == {
        "total": 1,
        "all": 1,
        "rest": 1,
    }


def test_warm_up_goes_on_until_the_time_settles() -> None:
    durations = iter([60, 50, 40, 30, 25, 20, 15, 12] + [10] * 1000)
    settling = timer(lambda: clock.sleep(next(durations) / 1000))
    samples, steady = settling.warm_up(settling.first(), 8)
    assert steady
    assert len(samples) > 8
    assert median(settling.end_to_end(0.2)) < 11


def test_warm_up_that_does_not_settle_is_said() -> None:
    count = iter(range(10**6))
    passes = timer(lambda: clock.sleep(0.005 * 1.02 ** next(count)))
    samples, steady = passes.warm_up(passes.first(), 1)
    assert not steady
    assert samples == pytest.approx([5 * 1.02**pass_ for pass_ in range(len(samples))], rel=0.01)
    assert sum(samples[:-1]) < 1000 < sum(samples)
    assert len(samples) > 40, "two windows of a tenth of a second"


def test_a_slow_pass_warms_up_once_and_its_samples_tell_whether_that_was_enough() -> None:
    passes = timer(lambda: pytest.fail("a pass that took all the time is not repeated"))
    assert passes.warm_up(1500.0, 1.4) == ([1500.0], False)
    assert PassTimer.settled([1500.0], [1490.0], [])
    assert PassTimer.settled([1700.0], [1490.0], [1500.0])
    assert not PassTimer.settled([1700.0], [1490.0], [])
    assert not PassTimer.settled([1700.0], [1490.0], [1300.0])


def test_samples_are_taken_in_inference_mode_without_the_garbage_collector() -> None:
    seen: set[tuple[bool, bool]] = set()
    passes = timer(lambda: seen.add((torch.is_inference_mode_enabled(), gc.isenabled())))
    passes.warm_up(1.0, 0.05)
    passes.end_to_end(0.05)
    passes.by_stage(0.05)
    assert seen == {(True, False)}
    assert gc.isenabled()


def test_samples_are_milliseconds_of_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "time", time)
    samples = timer(lambda: time.sleep(0.005)).end_to_end(0.1, least=5)
    assert 5 <= min(samples) < 10

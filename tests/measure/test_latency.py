"""What is timed, how often, and that nothing is left behind on the model."""

from __future__ import annotations

import gc
import time

import pytest
import torch
from torch import nn

from vlbench.measure.latency import LEAST_SAMPLES, LEAST_STAGE_SAMPLES, measure_latency

CPU = torch.device("cpu")


class Sleeper(nn.Module):
    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.hooked: list[bool] = []

    def forward(self) -> None:
        end = time.perf_counter_ns() + self.milliseconds * 1e6
        while time.perf_counter_ns() < end:
            pass
        self.hooked.append(bool(self._forward_hooks))


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.short, self.long = Sleeper(2), Sleeper(6)

    def forward(self) -> None:
        self.short()
        self.long()
        self.short()


def test_stages_sum_to_the_total_and_a_stage_called_twice_counts_twice() -> None:
    pair = Pair()
    latency = measure_latency(pair, {"short": pair.short, "long": pair.long}, device=CPU, budget_seconds=1)
    medians = {name: sorted(samples)[len(samples) // 2] for name, samples in latency.by_stage.items()}
    assert medians["short"] == pytest.approx(4, rel=0.1)
    assert medians["long"] == pytest.approx(6, rel=0.1)
    assert medians["total"] == pytest.approx(10, rel=0.1)
    assert len(set(map(len, latency.by_stage.values()))) == 1


def test_end_to_end_is_timed_with_nothing_hooked() -> None:
    pair = Pair()
    latency = measure_latency(pair, {"short": pair.short}, device=CPU, budget_seconds=0.3)
    before_stages = 2 * (len(latency.warm_up) + len(latency.end_to_end))
    assert not any(pair.short.hooked[:before_stages])
    assert all(pair.short.hooked[before_stages:])
    assert not pair.short._forward_hooks
    assert not pair.short._forward_pre_hooks


def test_the_budget_is_kept_and_a_slow_model_still_gets_its_least_samples() -> None:
    start = time.monotonic()
    many = measure_latency(Sleeper(1), {}, device=CPU, budget_seconds=0.5)
    assert time.monotonic() - start < 1
    assert len(many.end_to_end) > 50
    few = measure_latency(Sleeper(30), {}, device=CPU, budget_seconds=0.01)
    assert len(few.end_to_end) == LEAST_SAMPLES
    assert len(few.by_stage["total"]) == LEAST_STAGE_SAMPLES


def test_warm_up_goes_on_until_the_time_settles() -> None:
    durations = iter([60, 50, 40, 30, 25, 20, 15, 12] + [10] * 1000)

    def settling() -> None:
        time.sleep(next(durations) / 1000)

    latency = measure_latency(settling, {}, device=CPU, budget_seconds=8)
    assert latency.steady
    assert len(latency.warm_up) > 8
    assert sorted(latency.end_to_end)[len(latency.end_to_end) // 2] < 11


def test_warm_up_that_does_not_settle_is_said() -> None:
    count = iter(range(10**6))
    latency = measure_latency(lambda: time.sleep(0.005 * 1.2 ** next(count)), {}, device=CPU, budget_seconds=0.5)
    assert not latency.steady


def test_samples_are_taken_in_inference_mode_without_the_garbage_collector() -> None:
    seen: set[tuple[bool, bool]] = set()
    measure_latency(
        lambda: seen.add((torch.is_inference_mode_enabled(), gc.isenabled())), {}, device=CPU, budget_seconds=0.05
    )
    assert seen == {(True, False)}
    assert gc.isenabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_events_time_the_gpu_and_not_the_launch() -> None:
    matrix = torch.randn(8192, 8192, device="cuda")
    latency = measure_latency(lambda: matrix @ matrix, {}, device=torch.device("cuda"), budget_seconds=1)
    start = time.perf_counter()
    matrix @ matrix
    torch.cuda.synchronize()
    assert min(latency.end_to_end) > 0.2 * (time.perf_counter() - start) * 1e3

"""Restarts are enough when their median is narrow, and stopping then keeps the stated interval honest."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, log, sqrt

import pytest

from vlbench.measuring.statistics import enough, median_interval

MOST = 60


def states(*factors: float, noise: float = 0.008) -> Callable[[random.Random], float]:
    return lambda source: log(source.choice(factors)) + source.gauss(0, noise)


def student(source: random.Random) -> float:
    """Student's t with two degrees of freedom: a normal over the root of an exponential."""
    return 0.01 * source.gauss(0, 1) / sqrt(source.expovariate(1))


MACHINES = {
    "three speeds": (states(0.83, 1, 1.17), 0.0),
    "one speed mostly": (states(0.83, *[1] * 8, 1.17), 0.0),
    "two speeds": (states(1, 1.17), log(1.17) / 2),
    "two near speeds": (states(1, 1.04), log(1.04) / 2),
    "0.5% noise": (states(1, noise=0.005), 0.0),
    "1% noise": (states(1, noise=0.01), 0.0),
    "2% noise": (states(1, noise=0.02), 0.0),
    "3% noise": (states(1, noise=0.03), 0.0),
    "heavy tails": (student, 0.0),
}


def measured(source: random.Random, draw: Callable[[random.Random], float], within: float) -> list[float]:
    """As a run does: another restart until they are enough, looked at after each."""
    latencies: list[float] = []
    while len(latencies) < MOST and not enough(latencies, within):
        latencies.append(100 * exp(draw(source)))
    return latencies


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_the_stated_interval_holds_the_median_though_measuring_stops_early(machine: str) -> None:
    draw, truth = MACHINES[machine]
    source, held, trials = random.Random(machine), 0, 1_500
    for _ in range(trials):
        interval = median_interval(sorted(measured(source, draw, 0.02)))
        assert interval
        held += interval[0] <= 100 * exp(truth) <= interval[1]
    assert 0.915 <= held / trials <= 0.985  # 92 to 98%, and one standard deviation of what is drawn here


def test_a_quiet_machine_stops_at_nine_and_a_restless_one_does_not() -> None:
    source = random.Random(1)
    assert len(measured(source, MACHINES["0.5% noise"][0], 0.02)) == 9
    assert len(measured(source, MACHINES["three speeds"][0], 0.02)) > 30


@pytest.mark.parametrize("count", range(1, 31))
def test_it_looks_at_nine_and_at_every_third(count: int) -> None:
    assert enough([100.0] * count, 0.02) == (count in range(9, 31, 3))


@pytest.mark.parametrize(
    ("farthest", "within", "expected"),
    [(101.99, 0.02, True), (102.01, 0.02, False), (100.9, 0.01, True), (98.01, 0.02, True), (97.99, 0.02, False)],
)
def test_of_nine_restarts_none_may_lie_farther_from_the_median(farthest: float, within: float, expected: bool) -> None:
    assert enough([100.0] * 8 + [farthest], within) is expected


def test_of_more_restarts_some_may() -> None:
    assert enough([100.0] * 10 + [50.0, 150.0], 0.02)
    assert not enough([100.0] * 6 + [150.0] * 6, 0.02)

"""Drift against SciPy's Kendall's tau and Theil-Sen slope; modes of synthetic speed states."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from vlbench.measuring.statistics import drift, modes


@pytest.mark.parametrize("count", [6, 8, 15, 40])
@pytest.mark.parametrize("slope", [0.0, 0.02, -0.1])
def test_drift_against_scipy(count: int, slope: float) -> None:
    draw = random.Random(count)
    values = [10 + slope * number + draw.gauss(0, 0.1) for number in range(count)]
    found = drift(values)
    steps = stats.theilslopes(values).slope
    assert found.total == pytest.approx(steps * (count - 1) / sorted(values)[count // 2], rel=0.02)
    exact = stats.kendalltau(range(count), values, method="exact").pvalue
    assert found.p == pytest.approx(exact, abs=0.05)
    assert found.p >= 0.8 * exact  # never surer than the exact test, but for rounding


def test_ties_are_allowed_for() -> None:
    values = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0, 5.0]
    plain = stats.kendalltau(range(10), values, method="asymptotic").pvalue
    assert drift(values).p == pytest.approx(plain, abs=0.002)  # ours corrects for continuity


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 9])
def test_nothing_to_tell_is_no_drift(values: list[float]) -> None:
    found = drift(values)
    assert (found.total, found.p) == (0.0, 1.0)


def test_chance_drifts_one_time_in_a_hundred() -> None:
    draw = random.Random(0)
    alarms = sum(drift([draw.gauss(10, 1) for _ in range(15)]).p < 0.01 for _ in range(1_000))
    assert alarms <= 20


def test_speed_states_are_found_with_their_sizes() -> None:
    """Three states at -17%, 0 and +17% with 0.8% noise, of 4 to 6 restarts each, in any order."""
    for seed in range(100):
        draw = random.Random(seed)
        sizes = [draw.randint(4, 6) for _ in range(3)]
        values = [
            10 * state * (1 + draw.gauss(0, 0.008))
            for state, size in zip((0.83, 1.0, 1.17), sizes, strict=True)
            for _ in range(size)
        ]
        draw.shuffle(values)
        assert [len(group) for group in modes(values)] == sizes


def test_one_state_is_one_mode() -> None:
    draw = random.Random(1)
    assert all(len(modes([draw.gauss(10, 0.08) for _ in range(15)])) == 1 for _ in range(200))


def test_a_lone_restart_is_no_mode() -> None:
    assert modes([10.0, 10.05, 9.95, 10.02, 14.0]) == [(9.95, 10.0, 10.02, 10.05)]
    assert modes([]) == []
    assert modes([5.0, 5.0, 5.0]) == [(5.0, 5.0, 5.0)]

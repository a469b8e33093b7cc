"""Change points of series whose truth is known, because it was put in."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from vlbench.regression.history.change_points import (
    SHORTEST,
    Changes,
    best_cuts,
    critical_score,
    fewest_values,
    find_changes,
    seeded_segments,
)

RUNS = 40


def gaussian(generator: np.random.Generator, count: int) -> np.ndarray:
    """1%, as medians over restarts have on a quiet machine."""
    return generator.normal(0, 0.01, count)


def speed_states(generator: np.random.Generator, count: int) -> np.ndarray:
    """Medians of 15 processes, each 17% faster, as usual, or 17% slower for its life."""
    states = np.log1p(generator.choice([-0.17, 0, 0.17], p=[0.2, 0.6, 0.2], size=(count, 15)))
    return np.median(states + generator.normal(0, 0.008, (count, 15)), axis=1)


def heavy_tails(generator: np.random.Generator, count: int) -> np.ndarray:
    """Student's t with two degrees of freedom: no variance at all."""
    return 0.01 * generator.standard_t(2, count)


NOISES = [gaussian, speed_states, heavy_tails]


def find(logs: np.ndarray, *, threshold: float = 0.03, significance: float = 0.01) -> Changes:
    return find_changes(50 * np.exp(logs), threshold=threshold, significance=significance)


def places(logs: np.ndarray, **settings: float) -> list[int]:
    return [point.index for point in find(logs, **settings).points]


@pytest.mark.parametrize("noise", NOISES)
def test_an_unchanged_series_shows_nothing(noise: Callable) -> None:
    """At most 1% of 300; without a threshold, by the guarantee of the test alone, at most 1% within its own chance."""
    generator = np.random.default_rng(1)
    series = [noise(generator, RUNS) for _ in range(300)]
    assert sum(find(logs) != Changes() for logs in series) <= 3
    chance = 3 * math.sqrt(300 * 0.01)  # three standard deviations
    assert sum(find(logs, threshold=0) != Changes() for logs in series) <= 3 + chance


@pytest.mark.parametrize(("noise", "share"), [(gaussian, 0.98), (speed_states, 0.95), (heavy_tails, 0.8)])
def test_a_step_of_5_percent_is_found_within_a_run(noise: Callable, share: float) -> None:
    generator = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        start = int(generator.integers(6, RUNS - 5))
        logs = noise(generator, RUNS)
        logs[start:] += generator.choice([-1, 1]) * math.log(1.05)
        indices = places(logs)
        found += len(indices) == 1 and abs(indices[0] - start) <= 1
    assert found >= share * 100


def test_a_change_point_tells_both_levels() -> None:
    logs = np.log(np.repeat([1.0, 1.08], 20)) + np.tile([-0.001, 0, 0.001, 0], 10)
    (point,) = find(logs).points
    assert (point.index, point.before, point.after) == (20, pytest.approx(50), pytest.approx(54))
    assert point.change == pytest.approx(0.08)


def test_a_step_up_and_a_step_back_are_both_found() -> None:
    generator = np.random.default_rng(3)
    found = 0
    for _ in range(50):
        logs = gaussian(generator, 60)
        logs[20:40] += math.log(1.05)
        indices = places(logs)
        found += len(indices) == 2 and abs(indices[0] - 20) <= 1 and abs(indices[1] - 40) <= 1
    assert found >= 47


def test_two_steps_up_are_no_drift() -> None:
    logs = gaussian(np.random.default_rng(4), 60)
    logs[20:] += 0.06
    logs[40:] += 0.06
    assert places(logs) == [20, 40]


def test_a_slow_drift_is_called_one() -> None:
    generator = np.random.default_rng(5)
    rise = math.log(1.12)
    found = [find(gaussian(generator, RUNS) + rise * np.arange(RUNS) / (RUNS - 1)) for _ in range(50)]
    assert sum(bool(changes.points) for changes in found) <= 1
    drifts = [changes.drift for changes in found if changes.drift is not None]
    assert len(drifts) >= 48
    assert np.mean(drifts) == pytest.approx(0.12, abs=0.01)


@pytest.mark.parametrize("factor", [0.5, 1.5, 4])
def test_a_single_outlier_is_no_change(factor: float) -> None:
    for place in range(RUNS):
        logs = gaussian(np.random.default_rng(place), RUNS)
        logs[place] += math.log(factor)
        assert find(logs) == Changes()


def test_outliers_do_not_hide_a_step() -> None:
    logs = gaussian(np.random.default_rng(6), RUNS)
    logs[25:] += math.log(1.05)
    logs[[3, 14, 31]] += math.log(2)
    assert places(logs) == [25]


def test_a_small_change_of_a_quiet_series_is_told_only_if_asked_for() -> None:
    logs = np.random.default_rng(7).normal(0, 0.0005, RUNS)
    logs[20:] += math.log(1.005)
    assert find(logs) == Changes()
    assert places(logs, threshold=0.004) == [20]


def test_a_change_is_as_large_on_the_way_up_as_back() -> None:
    logs = np.random.default_rng(8).normal(0, 0.0005, 60)
    logs[20:40] += math.log(1.0305)
    assert places(logs) == [20, 40]
    assert [round(point.change, 3) for point in find(logs).points] == [0.030, -0.030]  # -0.0296 is as far as 0.0305


def test_too_few_values_show_nothing_however_large_the_step() -> None:
    for significance in (0.01, 0.0005):
        fewest = fewest_values(significance)
        half = fewest // 2
        step = np.repeat([0.0, 1.0], [half, fewest - half]) + 1e-4 * np.arange(fewest)
        assert len(find(step, significance=significance).points) == 1
        assert find(step[1:-1], significance=significance) == Changes()
    assert 8 <= fewest_values(0.01) <= 12
    assert find(np.zeros(0)) == find(np.zeros(1)) == find(np.zeros(SHORTEST)) == Changes()


def test_equal_values_show_nothing_and_a_step_between_them_is_found() -> None:
    assert find(np.zeros(RUNS), threshold=0) == Changes()
    assert places(np.repeat([0.0, 0.1], 20)) == [20]


@pytest.mark.parametrize("significance", [0.01, 0.001])
def test_the_stated_share_of_random_orders_is_not_exceeded(significance: float) -> None:
    orders = np.random.default_rng(9).normal(0, 1, (20_000, 20))
    exceeded = (best_cuts(orders)[0] > critical_score(20, significance)).sum()
    expected = 20_000 * significance
    assert exceeded <= expected + 3 * math.sqrt(expected)


@pytest.mark.parametrize("count", [10, 11, 40, 64, 65, 100, 300])
def test_seeded_segments_lie_within_the_series_and_cover_it(count: int) -> None:
    stretches = seeded_segments(count)
    assert all(start >= 0 and start + length <= count for start, length in stretches)
    assert set().union(*(range(start, start + length) for start, length in stretches)) == set(range(count))


@pytest.mark.slow
def test_a_long_series_is_searched_whole() -> None:
    logs = gaussian(np.random.default_rng(10), 300)
    logs[11:] += 0.05
    logs[290:] -= 0.08
    assert places(logs, significance=0.001) == [11, 290]

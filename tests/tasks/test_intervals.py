"""Bootstrap intervals: they cover a known truth, and values of one unit are resampled together."""

from __future__ import annotations

import numpy as np
import pytest

from vlbench.tasks.metrics import mean_with_interval


def test_intervals_cover_the_truth_in_about_95_of_100_cases() -> None:
    source, held = np.random.default_rng(0), 0
    for _ in range(200):
        values = (source.random(150) < 0.7).astype(float).tolist()
        found = mean_with_interval("accuracy", values, range(150))
        assert found.ci95
        held += found.ci95[0] <= 0.7 <= found.ci95[1]
    assert 0.90 <= held / 200 <= 0.99


def test_questions_about_one_image_count_as_one() -> None:
    values = [1.0, 0.0] * 50
    alone = mean_with_interval("accuracy", np.repeat(values, 5).tolist(), range(500))
    together = mean_with_interval("accuracy", np.repeat(values, 5).tolist(), np.repeat(range(100), 5).tolist())
    assert alone.ci95
    assert together.ci95
    assert alone.n == together.n == 500
    width_alone, width_together = np.diff(alone.ci95)[0], np.diff(together.ci95)[0]
    assert width_together == pytest.approx(width_alone * 5**0.5, rel=0.2)


def test_the_mean_is_over_values_and_not_over_units() -> None:
    found = mean_with_interval("accuracy", [1.0] * 9 + [0.0], ["a"] * 9 + ["b"])
    assert (found.value, found.ci95, found.n) == (0.9, None, 10)


def test_the_same_values_give_the_same_interval_and_equal_ones_give_a_point() -> None:
    values = np.random.default_rng(1).random(40).tolist()
    assert mean_with_interval("a", values, range(40)) == mean_with_interval("a", values, range(40))
    assert mean_with_interval("a", [0.3] * 20, range(20)).ci95 == pytest.approx((0.3, 0.3))

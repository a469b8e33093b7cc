"""Intervals of accuracies: exact where that is known, and their coverage where values of one unit are alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks.harness.coverage import KINDS, SIZES, of_answers, of_single_answers
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


@pytest.mark.parametrize(
    ("right", "count"), [(10, 10), (0, 10), (0, 5), (5, 5), (1, 1), (3, 7), (999, 1000), (0, 10_000)]
)
def test_answers_alone_have_the_exact_interval_of_a_proportion(right: int, count: int) -> None:
    """Ten of ten right: 69% to 100%."""
    exact = binomtest(right, count).proportion_ci(0.95, method="exact")
    accuracy = mean_with_interval("accuracy", [1.0] * right + [0.0] * (count - right), range(count))
    assert accuracy.ci95 == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("questions", [1, 5])
def test_no_interval_is_a_point(value: float, questions: int) -> None:
    """Neither where all values are equal; and images with more questions about each tell no less."""
    images = np.repeat(range(20), questions).tolist()
    equal = mean_with_interval("a", [value] * len(images), images)
    assert equal.ci95
    assert equal.ci95[0] <= value <= equal.ci95[1]
    assert 0.1 < equal.ci95[1] - equal.ci95[0] < 0.5


def test_a_mean_of_fractions_is_rounded_once() -> None:
    assert mean_with_interval("a", [0.1] * 10, range(10)).value == 0.1


def test_ten_images_of_which_one_has_most_questions_tell_little() -> None:
    """Half of the questions are about one image, so that the interval is wide, however many questions there are."""
    units = [0] * 900 + [unit for unit in range(1, 10) for _ in range(100)]
    values = [float(unit % 2) for unit in units]
    accuracy = mean_with_interval("accuracy", values, units)
    assert accuracy.ci95
    assert np.diff(accuracy.ci95) > 0.5


@pytest.mark.parametrize("count", [5, 10, 137, 1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_answers_alone_are_covered_for_every_accuracy(count: int) -> None:
    """By the binomial distribution, without simulation."""
    assert of_single_answers(count).lowest >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("units", [10, 30])
def test_answers_about_images_are_covered_for_every_accuracy_and_correlation(kind: str, units: int) -> None:
    generator = np.random.default_rng(units)
    designs = [of_answers(kind, sizes, units, 800, generator) for sizes in SIZES]
    assert min(design.lowest for design in designs) >= 0.93 - 2 * 0.009  # two standard errors


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 20, 500])
def test_fractions_alone_are_covered(count: int) -> None:
    assert of_answers("VQA accuracy", "alone", count, 2_000, np.random.default_rng(count)).lowest >= 0.93

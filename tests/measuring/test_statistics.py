"""Summaries of samples against scipy, numpy and the binomial formula."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.stats import binom

from vlbench.measuring.statistics import median_interval, summarise


def test_the_median_is_of_the_restarts_medians_and_not_of_their_samples() -> None:
    source = random.Random(0)
    restarts = [[source.lognormvariate(2, 1) for _ in range(count)] for count in (3, 51, 8, 20, 1, 6, 9)]
    summary = summarise(restarts)
    assert summary.by_restart == pytest.approx([np.median(samples) for samples in restarts])
    assert summary.median == pytest.approx(np.median([np.median(samples) for samples in restarts]))
    assert summary.n == 98
    assert summary.ci95 == (min(summary.by_restart), max(summary.by_restart))


@pytest.mark.parametrize(
    ("count", "p90", "p99"), [(63, False, False), (64, True, False), (661, True, False), (662, True, True)]
)
def test_no_percentile_that_too_few_samples_cannot_carry(count: int, p90: bool, p99: bool) -> None:
    samples = [float(value) for value in range(count)]
    summary = summarise([samples[:10], samples[10:]])
    assert (summary.p90 is not None) == p90
    assert (summary.p99 is not None) == p99


def test_percentiles_are_samples_of_any_restart_that_the_stated_share_does_not_exceed() -> None:
    samples = [float(value) for value in range(1, 1001)][::-1]
    summary = summarise([samples[::2], samples[1::2]])
    assert summary.p90 == 900
    assert summary.p99 == 990


@pytest.mark.parametrize("count", [6, 7, 9, 20, 50, 101, 1000, 5000])
def test_the_interval_is_the_narrowest_that_covers_95_percent(count: int) -> None:
    low, high = median_interval(list(range(1, count + 1)))
    assert high == count + 1 - low
    assert 1 - 2 * binom.cdf(low - 1, count, 0.5) >= 0.95
    assert 1 - 2 * binom.cdf(low, count, 0.5) < 0.95


@pytest.mark.parametrize("count", [1, 2, 5])
def test_five_restarts_carry_no_interval_however_many_samples_they_took(count: int) -> None:
    assert summarise([[1.0] * 100] * count).ci95 is None


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    source = random.Random(1)
    intervals = [summarise([[source.expovariate(1)] for _ in range(15)]).ci95 for _ in range(2000)]
    covered = sum(low <= np.log(2) <= high for low, high in intervals) / 2000
    assert 0.95 <= covered <= 0.98  # with 15 samples order statistics cover 96.5%


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([[]])

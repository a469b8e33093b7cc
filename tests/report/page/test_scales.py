"""Logarithmic axes: all values within, at round places."""

from __future__ import annotations

import math

import pytest

from vlbench.report.page.vega import domain, scale_and_axis, ticks


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.5, 20_000, [1, 10, 100, 1_000, 10_000]),
        (40, 1_300, [50, 100, 200, 500, 1_000]),
        (2, 6, [2, 3, 4, 5, 6]),
        (0.9, 1.12, [0.9, 0.95, 1.0, 1.05, 1.1]),
        (0.095, 0.145, [0.1, 0.11, 0.12, 0.13, 0.14]),
    ],
)
def test_ticks_are_round(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize("spread", [1 + 1e-9, 1.01, 1.3, 2, 7, 100, 1e6])
@pytest.mark.parametrize("least", [1e-4, 0.37, 5, 9_999, 3e8])
def test_there_are_some_and_all_lie_within(least: float, spread: float) -> None:
    low, high = domain([least, None, least * spread])
    assert low < least <= least * spread < high
    found = ticks(low, high)
    assert 2 <= len(found) <= 12
    assert all(low <= tick <= high for tick in found)
    assert found == sorted(set(found))


def test_known_places_are_the_ticks() -> None:
    axis = scale_and_axis([1, 64], at=[1, 2, 4])["axis"].to_dict()
    assert axis["values"] == [1, 2, 4]


def test_a_single_value_stands_in_the_middle() -> None:
    low, high = domain([10.0])
    assert math.sqrt(low * high) == pytest.approx(10)

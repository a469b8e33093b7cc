"""Logarithmic axes with plain numbers at round places."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

ROUND = ((1, 10), (1, 3, 10), (1, 2, 5, 10), (1, 1.5, 2, 3, 4, 5, 6, 8, 10))  # of each power of ten, few to many
ENOUGH, ROOM = 4, 0.06  # ticks; room at both ends, as a share of the axis
NARROWEST = 1.25  # how much larger the end of an axis is than its beginning, at the least


def domain(values: Iterable[float | None]) -> tuple[float, float]:
    """Both ends of an axis that holds these, with some room; none of them is negative or zero."""
    known = [value for value in values if value is not None]
    least, most = min(known), max(known)
    if most / least < NARROWEST:
        middle = math.sqrt(least * most)
        least, most = middle / math.sqrt(NARROWEST), middle * math.sqrt(NARROWEST)
    room = (most / least) ** ROOM
    return least / room, most * room


def ticks(low: float, high: float) -> list[float]:
    """As few as are enough, between two ends; evenly spaced if there are too few round multiples of powers of ten."""
    fitting: list[float] = []
    for steps in ROUND:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        multiples = {float(f"{step * 10.0**power:.6g}") for power in powers for step in steps}
        fitting = sorted(value for value in multiples if low <= value <= high)
        if len(fitting) >= ENOUGH:
            return fitting
    step = 10 ** math.floor(math.log10((high - low) / ENOUGH))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 2 * ENOUGH)
    first = math.ceil(low / step)
    return [float(f"{count * step:.6g}") for count in range(first, math.floor(high / step) + 1)]


def scale_and_axis(values: Iterable[float | None], at: Sequence[float] = ()) -> dict[str, Any]:
    """What a logarithmic channel of these values takes; `at`: its ticks, if they are known."""
    low, high = domain(values)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return {"scale": scale, "axis": alt.Axis(values=list(at) or ticks(low, high), format=",~r", labelOverlap=True)}

"""How numbers are written: rounded to what a measurement can resolve, alone or with their interval."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isnan

Interval = Sequence[float | None] | None  # its two ends; either may be unknown


def short_number(value: float) -> str:
    """Four significant digits at most: `1,255`, `12.4`, `0.86`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def any_number(value: float) -> str:
    """The same, and three significant digits of what is below 0.1: `0.0123`."""
    return short_number(value) if abs(value) >= 0.1 or not value else f"{value:.3g}"


def percent(share: float) -> str:
    """`57.1` for 0.571, without the sign."""
    return f"{100 * share:.1f}"


def signed_percent(change: float) -> str:
    """`+10.4%` for 0.104."""
    return f"{change:+.1%}".replace("-0.0%", "+0.0%")


def scaled(unit: float, digits: int) -> Callable[[float], str]:
    """Writes multiples of a unit with so many decimals, and three significant digits of what is below one unit."""

    def write(value: float) -> str:
        return f"{value / unit:#.3g}" if 0 < abs(value) < unit else f"{value / unit:,.{digits}f}"

    return write


def ends(write: Callable[[float], str] = short_number) -> Callable[[Sequence[float]], str]:
    """Writes an interval: `390 to 410`."""
    return lambda interval: " to ".join(map(write, interval))


def bracketed(
    value: float, interval: Interval, write: Callable[[float], str] = short_number, between: str = ", "
) -> str:
    """A value with its interval, if that is known: `1,255 [1,118, 1,622]`."""
    known = [end for end in interval or () if end is not None and not isnan(end)]
    return write(value) + (f" [{between.join(map(write, known))}]" if len(known) == 2 else "")


def counted(count: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def share_of(text: object) -> float | None:
    """0.05 of `5%` and of `0.05`; None of text that is no such number."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(%?)\s*", str(text), re.ASCII)
    return float(match[1]) / (100 if match[2] else 1) if match else None

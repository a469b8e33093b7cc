"""How long to train, in samples, steps, seconds or multiply-accumulates, and how much of that is spent."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field, model_validator

from vlbench.errors import InputError
from vlbench.frozen import Frozen

Kind = Literal["samples", "steps", "seconds", "macs"]

COUNTED_KINDS: tuple[Kind, ...] = ("samples", "steps", "macs")

FORWARDS_PER_STEP = 3
"""MACs of a training step divided by those of its forward pass. The backward pass needs as many for the gradients of
the inputs, and as many again for those of the weights. Frozen modules count the same, although they need fewer."""

PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
TIME_UNITS = {1.0: "s sec secs second seconds", 60.0: "min mins minute minutes", 3600.0: "h hour hours"}
SECONDS_OF = {unit: seconds for seconds, units in TIME_UNITS.items() for unit in units.split()}
SEPARATOR = re.compile(r"[\s_]|,(?=\d{3}(?!\d))")  # a comma separates thousands, and is not a decimal point
BUDGET = re.compile(r"(?P<number>\d+(?:\.\d*)?(?:[eE]\+?\d+)?)(?P<unit>[A-Za-z]*)")
COUNTED_UNIT = re.compile(r"(?P<prefix>[kKMGTPE]?)(?P<name>(?i:samples?|steps?|macs|))")
MOST, MOST_MACS = 1e15, 1e30
EXAMPLES = "200000, 200ksamples, 2000steps, 90s, 25min, 2h or 5e15macs works"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What training has taken so far: `seconds` of wall-clock time, `macs` of forward and backward passes.

    `waiting_seconds` are those of `seconds` in which the device waited for data; None where an older version trained.
    """

    samples: int = 0
    steps: int = 0
    seconds: float = 0.0
    macs: float = 0.0
    waiting_seconds: float | None = 0.0

    def plus(self, other: Spent) -> Spent:
        return Spent(
            samples=self.samples + other.samples,
            steps=self.steps + other.steps,
            seconds=self.seconds + other.seconds,
            macs=self.macs + other.macs,
            waiting_seconds=_sum(self.waiting_seconds, other.waiting_seconds),
        )

    def waiting(self, seconds: float) -> Spent:
        """The same with so many more seconds spent waiting."""
        return replace(self, waiting_seconds=_sum(self.waiting_seconds, seconds))

    @property
    def waiting_share(self) -> float | None:
        """Share of the seconds spent waiting for data; None where that is unknown."""
        if self.waiting_seconds is None or not self.seconds:
            return None
        return min(1.0, self.waiting_seconds / self.seconds)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


class Budget(Frozen):
    """Training ends with the first step that spends it. A budget of samples is spent exactly."""

    kind: Kind = "samples"
    amount: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _counts_are_whole(self) -> Budget:
        if not self.continuous and self.amount != round(self.amount):
            raise ValueError(f"{self.amount} is not a whole number of {self.kind}")
        return self

    def share(self, spent: Spent) -> float:
        """The share that is spent, from 0 to 1."""
        return min(1.0, getattr(spent, self.kind) / self.amount)

    def after(self, spent: Spent) -> Budget:
        """What an earlier phase leaves of the budget. Raises InputError where that is nothing."""
        left = self.amount - getattr(spent, self.kind)
        if left <= 0:
            took = Budget(kind=self.kind, amount=getattr(spent, self.kind))
            raise InputError(f"--budget {self}: the phase before took {took}; a larger budget works")
        return Budget(kind=self.kind, amount=left)

    @property
    def continuous(self) -> bool:
        return self.kind in ("seconds", "macs")

    def __str__(self) -> str:
        """`200,000 samples`, `25 min`, `5.0e+15 MACs`"""
        if self.kind == "seconds":
            return duration(self.amount)
        return f"{self.amount:.3g} MACs" if self.kind == "macs" else f"{self.amount:,.0f} {self.kind}"


def parse_budget(text: str, option: str = "--budget") -> Budget:
    """A budget from `25min`, `90s`, `2000steps`, `200000`, `200ksamples` or `5e15macs`.

    Args:
        option: where the text comes from, for error messages.

    Raises InputError where the text is not a budget.
    """
    match = BUDGET.fullmatch(SEPARATOR.sub("", text))
    if match is None:
        raise InputError(f"{option} {text}: not a budget; {EXAMPLES}")
    number, unit = float(match["number"]), match["unit"]
    kind: Kind
    if unit.lower() in SECONDS_OF:
        kind, amount = "seconds", number * SECONDS_OF[unit.lower()]
    elif unit == "m":
        raise InputError(f"{option} {text}: minutes or millions? {match['number']}min or {match['number']}M works")
    else:
        kind, amount = _counted(f"{option} {text}", number, unit)
    if amount > (MOST_MACS if kind == "macs" else MOST):
        raise InputError(f"{option} {text}: nothing could be trained for so long; {EXAMPLES}")
    if amount <= 0:
        raise InputError(f"{option} {text}: nothing could be trained; {EXAMPLES}")
    return Budget(kind=kind, amount=amount)


def _counted(where: str, number: float, unit: str) -> tuple[Kind, float]:
    """The kind and amount of a number and its unit: `k`, `steps` or `ksteps`; samples if the unit names no kind."""
    match = COUNTED_UNIT.fullmatch(unit)
    if match is None:
        raise InputError(f"{where}: {unit!r} is not a unit of budgets; {EXAMPLES}")
    kind = next(kind for kind in COUNTED_KINDS if kind.startswith(match["name"].lower()))
    amount = number * PREFIXES[match["prefix"]]
    if kind != "macs" and math.isfinite(amount) and amount != round(amount):
        raise InputError(f"{where}: not a whole number of {kind}; {math.ceil(amount)}{kind} works")
    return kind, amount


def training_macs(forward_macs: float | None, samples: int) -> float:
    """Multiply-accumulates of training on this many samples.

    Args:
        forward_macs: of one sample's forward pass; None, unknown, counts as 0.
    """
    return FORWARDS_PER_STEP * (forward_macs or 0.0) * samples


def duration(seconds: float) -> str:
    """`45 s`, `25 min`, `3.5 h`"""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"

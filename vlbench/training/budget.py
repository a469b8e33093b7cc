"""How long to train: so many samples, steps, seconds or multiply-accumulates, and how far along that is."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from vlbench.errors import InputError
from vlbench.frozen import Frozen
from vlbench.specs.base import Fraction

Kind = Literal["samples", "steps", "seconds", "macs"]

FORWARDS_A_STEP = 3
"""MACs of a training step in those of its forward pass: the backward pass multiplies as much for the gradients of the
inputs and as much again for those of the weights. What is frozen, and so has the first or neither, counts alike."""

MANY = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
UNITS = {1.0: "s sec secs second seconds", 60.0: "min mins minute minutes", 3600.0: "h hour hours"}
SECONDS = {word: seconds for seconds, words in UNITS.items() for word in words.split()}
COUNTED: dict[str, Kind] = {
    "samples": "samples",
    "sample": "samples",
    "steps": "steps",
    "step": "steps",
    "macs": "macs",
}
BETWEEN_DIGITS = re.compile(r"[\s_]|,(?=\d{3}(?!\d))")  # a comma parts thousands, and is no decimal point
FORM = re.compile(r"(?P<number>\d+(?:\.\d*)?(?:[eE]\+?\d+)?)(?P<word>[A-Za-z]*)")
WORKS = "200000, 200ksamples, 2000steps, 90s, 25min, 2h or 5e15macs works"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What training took so far; `seconds` by the wall clock, `macs` of all that was multiplied."""

    samples: int = 0
    steps: int = 0
    seconds: float = 0.0
    macs: float = 0.0

    def plus(self, other: Spent) -> Spent:
        return Spent(
            samples=self.samples + other.samples,
            steps=self.steps + other.steps,
            seconds=self.seconds + other.seconds,
            macs=self.macs + other.macs,
        )


class Budget(Frozen):
    """Training ends with the first step that spends it; of samples exactly so many are seen."""

    kind: Kind = "samples"
    amount: float = Field(gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _things_are_whole(self) -> Budget:
        if not self.continuous and self.amount != round(self.amount):
            raise ValueError(f"{self.amount} is no whole number of {self.kind}")
        return self

    def share(self, spent: Spent) -> float:
        """How far along that is, from 0 to 1."""
        return min(1.0, getattr(spent, self.kind) / self.amount)

    def part(self, share: Fraction) -> Budget:
        """A share of it, say for the first of two phases; of samples and steps a whole number, one at least."""
        amount = self.amount * share
        return Budget(kind=self.kind, amount=amount if self.continuous else max(1, round(amount)))

    def after(self, spent: Spent) -> Budget:
        """What an earlier phase leaves of it. Raises InputError where that is nothing."""
        left = self.amount - getattr(spent, self.kind)
        if left <= 0:
            took = Budget(kind=self.kind, amount=getattr(spent, self.kind))
            raise InputError(f"--budget {self}: what comes before took {took}; more than that works")
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
    """`25min`, `90s`, `2000steps`, `200000` or `200ksamples`, `5e15macs`.

    Raises InputError, in the name of the option that it stands behind, where it is no budget.
    """
    found = FORM.fullmatch(BETWEEN_DIGITS.sub("", text))
    if found is None:
        raise InputError(f"{option} {text}: no budget; {WORKS}")
    number, word = float(found["number"]), found["word"]
    if word.lower() in SECONDS:
        budget = Budget.model_construct(kind="seconds", amount=number * SECONDS[word.lower()])
    elif word == "m":
        raise InputError(f"{option} {text}: minutes or millions? {found['number']}min or {found['number']}M works")
    else:
        budget = _counted(f"{option} {text}", number, word)
    if not (0 < budget.amount < math.inf):
        raise InputError(f"{option} {text}: nothing could be trained; {WORKS}")
    return Budget(kind=budget.kind, amount=budget.amount)


def _counted(where: str, number: float, word: str) -> Budget:
    """`word` is `ksamples`, say: how many at once, then what; samples where it says nothing."""
    for name, kind in (COUNTED | {"": "samples"}).items():
        many = word[: len(word) - len(name)]
        if word.lower().endswith(name) and many in MANY:
            amount = number * MANY[many]
            if kind != "macs" and amount != round(amount):
                raise InputError(f"{where}: no whole number of {kind}; {math.ceil(amount)}{kind} works")
            return Budget.model_construct(kind=kind, amount=amount)
    raise InputError(f"{where}: {word!r} is nothing that can be counted; {WORKS}")


def training_macs(forward_macs: float | None, samples: int) -> float:
    """Multiply-accumulates of training on so many samples, `FORWARDS_A_STEP` times those of a forward pass.

    Args:
        forward_macs: of one sample; None where they are not known, which counts as none.
    """
    return FORWARDS_A_STEP * (forward_macs or 0.0) * samples


def duration(seconds: float) -> str:
    """`45 s`, `25 min`, `3.5 h`"""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"

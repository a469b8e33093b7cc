"""How the arms of an ablation stand against its reference: means over seeds, paired differences, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any, Literal

from scipy import stats

from vlbench.suites.ablations import Ablation, Arm, Reported

Verdict = Literal["reference", "better", "worse", "same", "unknown", "missing"]
Key = tuple[str, str, int]  # a model, an arm's label, a seed
CONFIDENCE = 0.95
LEAST_SEEDS = 3  # two may differ alike by chance, and then have no spread at all
SAME_POINTS = 1.0  # an interval within so many percentage points of none is as good as none


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Percentage points over the reference, paired by seed; None where there are too few seeds to tell.

    Attributes:
        mean, deviation: of the differences, one a seed.
        interval: 95%, of the mean, by Student's t of as many seeds less one; of three seeds at least.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOutcome:
    """One arm of one model.

    Attributes:
        accuracy: in percent, by seed; those of `missing` seeds are not trained yet.
        mean, deviation: over the seeds; None for none, or for less than two.
        difference: to the reference; None of the reference itself, or where no seed is common.
        agrees: whether the difference has the sign of the first figure that a paper reports; None where either is open.
    """

    suite: str
    model: str
    arm: str
    accuracy: dict[int, float]
    missing: tuple[int, ...]
    mean: float | None
    deviation: float | None
    difference: Difference | None
    verdict: Verdict
    reported: tuple[Reported, ...]
    agrees: bool | None

    def as_dict(self) -> dict[str, Any]:
        content = asdict(self)
        content["accuracy"] = {str(seed): value for seed, value in self.accuracy.items()}
        content["reported"] = [one.model_dump() | {"delta": one.delta} for one in self.reported]
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationOutcome:
    """A suite, and how its arms stand, model by model.

    Attributes:
        conditions: in words, of all trainings.
    """

    suite: Ablation
    arms: tuple[ArmOutcome, ...]
    conditions: str
    quick: bool

    @property
    def complete(self) -> bool:
        return not any(arm.missing for arm in self.arms)

    def as_dict(self) -> dict[str, Any]:
        suite = self.suite
        described = {"name": suite.name, "title": suite.title, "reference": suite.reference}
        return described | {
            "source": suite.source.model_dump(),
            "conditions": self.conditions,
            "quick": self.quick,
            "arms": [arm.as_dict() for arm in self.arms],
        }


def outcome_of(
    suite: Ablation, found: Mapping[Key, float], *, seeds: Sequence[int], conditions: str, quick: bool
) -> AblationOutcome:
    """Holds each arm against the reference.

    Args:
        found: shares of right answers, 0 to 1, of what is trained.
        seeds: that are wanted.
    """
    arms = [
        _arm_outcome(suite, model, arm, {key: 100 * value for key, value in found.items()}, seeds)
        for model in suite.models
        for arm in suite.arms
    ]
    return AblationOutcome(suite=suite, arms=tuple(arms), conditions=conditions, quick=quick)


def _arm_outcome(
    suite: Ablation, model: str, arm: Arm, percent: Mapping[Key, float], seeds: Sequence[int]
) -> ArmOutcome:
    own, other = (
        {seed: percent[model, label, seed] for seed in seeds if (model, label, seed) in percent}
        for label in (arm.label, suite.reference)
    )
    is_reference = arm.label == suite.reference
    compared = None if is_reference else difference(own, other)
    reported = tuple(one for one in arm.reported if one.model in (None, model))
    verdict = "reference" if is_reference and own else verdict_of(compared)
    return ArmOutcome(
        suite=suite.name,
        model=model,
        arm=arm.label,
        accuracy=own,
        missing=tuple(seed for seed in seeds if seed not in own),
        mean=mean(own.values()) if own else None,
        deviation=stdev(own.values()) if len(own) > 1 else None,
        difference=compared,
        verdict=verdict,
        reported=reported,
        agrees=_agrees(verdict, reported),
    )


def difference(own: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Of accuracies by seed, over the seeds that both have; None where there is none."""
    each = [value - reference[seed] for seed, value in own.items() if seed in reference]
    if not each:
        return None
    centre, deviation = mean(each), stdev(each) if len(each) > 1 else None
    if deviation is None or len(each) < LEAST_SEEDS:
        return Difference(mean=centre, deviation=deviation, interval=None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(each) - 1)) * deviation / len(each) ** 0.5
    return Difference(mean=centre, deviation=deviation, interval=(centre - half, centre + half))


def verdict_of(found: Difference | None) -> Verdict:
    """`better` or `worse` where the interval lies on one side of zero; else `same` where it lies within a point of it;
    `unknown` where it is wider, or has no width though there is a difference, or there is none."""
    if found is None:
        return "missing"
    low, high = found.interval or (None, None)
    if low is None or high is None or (low == high and low != 0):
        return "unknown"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "same" if max(-low, high) <= SAME_POINTS else "unknown"


def _agrees(verdict: Verdict, reported: Sequence[Reported]) -> bool | None:
    if verdict not in ("better", "worse") or not reported or not reported[0].delta:
        return None
    return (verdict == "better") == (reported[0].delta > 0)

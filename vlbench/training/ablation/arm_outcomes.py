"""Compares the arms of an ablation with its reference arm: means over seeds, paired differences, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any, Literal, NamedTuple

from scipy import stats

from vlbench.measuring.statistics import reaches
from vlbench.suites.ablations import Ablation, Arm, Reported

Verdict = Literal["reference", "better", "worse", "same", "unknown", "missing"]
CONFIDENCE = 0.95
MIN_SEEDS = 3  # with two, both differences can be equal by chance, and the interval is then empty
DIGITS = 9  # of a difference in points, so that equal differences are equal whatever they lose in binary
SAME_POINTS = 1.0  # differences up to this many percentage points count as none


class ArmKey(NamedTuple):
    """One training of an ablation."""

    model: str
    arm: str  # its label
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Percentage points above the reference, paired by seed.

    Attributes:
        mean: over seeds.
        deviation: standard deviation over seeds; None with one seed.
        interval: 95% interval of the mean by Student's t; None with fewer than three seeds.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOutcome:
    """One arm of one model.

    Attributes:
        accuracy: in percent, by seed.
        missing: seeds that are not trained yet.
        mean, deviation: over the seeds; None where there are too few.
        difference: to the reference; None for the reference itself, or where no seed is common.
        agrees: whether the difference has the sign of the first one that a paper reports; None where either is
            unclear.
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
        content["reported"] = [reported.model_dump() | {"delta": reported.delta} for reported in self.reported]
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationOutcome:
    """A suite and the outcomes of its arms, model by model.

    Attributes:
        conditions: what all trainings have in common, in words.
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
    suite: Ablation, accuracies: Mapping[ArmKey, float], *, seeds: Sequence[int], conditions: str, quick: bool
) -> AblationOutcome:
    """Compares each arm with the reference.

    Args:
        accuracies: shares of correct answers, 0 to 1, of the trainings that are finished.
        seeds: those that the suite trains.
    """
    percent = {key: 100 * value for key, value in accuracies.items()}
    arms = [_arm_outcome(suite, model, arm, percent, seeds) for model in suite.models for arm in suite.arms]
    return AblationOutcome(suite=suite, arms=tuple(arms), conditions=conditions, quick=quick)


def _arm_outcome(
    suite: Ablation, model: str, arm: Arm, percent: Mapping[ArmKey, float], seeds: Sequence[int]
) -> ArmOutcome:
    accuracy, reference = (
        {seed: percent[key] for seed in seeds if (key := ArmKey(model, label, seed)) in percent}
        for label in (arm.label, suite.reference)
    )
    is_reference = arm.label == suite.reference
    compared = None if is_reference else difference(accuracy, reference)
    reported = tuple(result for result in arm.reported if result.model in (None, model))
    verdict = "reference" if is_reference and accuracy else verdict_of(compared)
    return ArmOutcome(
        suite=suite.name,
        model=model,
        arm=arm.label,
        accuracy=accuracy,
        missing=tuple(seed for seed in seeds if seed not in accuracy),
        mean=mean(accuracy.values()) if accuracy else None,
        deviation=stdev(accuracy.values()) if len(accuracy) > 1 else None,
        difference=compared,
        verdict=verdict,
        reported=reported,
        agrees=_agrees(verdict, reported),
    )


def difference(accuracy: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """The difference of two accuracies by seed, over the seeds that both have; None where there is none."""
    by_seed = [round(value - reference[seed], DIGITS) for seed, value in accuracy.items() if seed in reference]
    if not by_seed:
        return None
    centre, deviation = mean(by_seed), stdev(by_seed) if len(by_seed) > 1 else None
    if deviation is None or len(by_seed) < MIN_SEEDS:
        return Difference(mean=centre, deviation=deviation, interval=None)
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(by_seed) - 1)) * deviation / len(by_seed) ** 0.5
    return Difference(mean=centre, deviation=deviation, interval=(centre - half_width, centre + half_width))


def verdict_of(compared: Difference | None) -> Verdict:
    """`better` or `worse` if the interval excludes zero, `same` if it lies within one point of zero, else `unknown`.

    Also `unknown` without an interval, or with one that has no width and is not zero.
    """
    if compared is None:
        return "missing"
    low, high = compared.interval or (None, None)
    if low is None or high is None or (low == high and low != 0):
        return "unknown"
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "same" if reaches(SAME_POINTS, max(-low, high)) else "unknown"


def _agrees(verdict: Verdict, reported: Sequence[Reported]) -> bool | None:
    if verdict not in ("better", "worse") or not reported or not reported[0].delta:
        return None
    return (verdict == "better") == (reported[0].delta > 0)

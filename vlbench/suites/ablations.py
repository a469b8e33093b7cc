"""One file `benchmarks/ablation-*.yaml`: what is trained in two ways or more, and what a paper says it is worth."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from vlbench.errors import nearest
from vlbench.frozen import Frozen
from vlbench.suites.schema import Source

Percent = Annotated[float, Field(ge=0, le=100)]


class Reported(Frozen):
    """What a paper prints of an arm and of the reference, in one metric, in percent.

    Attributes:
        model: that it is held against, where the suite has several; None: all.
    """

    paper: str
    where: str
    metric: str
    reference: Percent
    arm: Percent
    model: str | None = None

    @property
    def delta(self) -> float:
        """Percentage points that the arm has more, with the two digits that papers print."""
        return round(self.arm - self.reference, 2)


class Arm(Frozen):
    """One way to train.

    Attributes:
        recipe: fields of the recipe that differ from the suite's.
        set: sizes of the preset that differ from the suite's, by dotted keys as `patch.patch_size`.
        reported: the paper's own figures, the nearest to questions and answers first.
    """

    label: str = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    reported: tuple[Reported, ...] = ()


class Ablation(Frozen):
    """A suite whose arms are trained, each under several seeds, and held against one of them.

    Attributes:
        preset: of `vlbench train`.
        models: names of the catalogue, each trained in every arm.
        budget: of each training, as `vlbench train --budget` has it.
        recipe, set: of all arms.
        reference: the label of the arm that the others are held against.
    """

    name: str = Field(pattern=r"^ablation-[a-z0-9._-]+$")
    kind: Literal["ablation"]
    title: str
    source: Source
    preset: str = "tiny"
    models: tuple[str, ...] = Field(min_length=1)
    budget: int | str
    seeds: tuple[NonNegativeInt, ...] = Field(default=(0, 1, 2), min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    reference: str
    arms: tuple[Arm, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _names_are_known(self) -> Ablation:
        labels = _unique("arm", [arm.label for arm in self.arms])
        _unique("seed", list(map(str, self.seeds)))
        _unique("model", list(self.models))
        if self.reference not in labels:
            raise ValueError(f"reference: no arm {self.reference!r}; {nearest(self.reference, labels)}")
        for arm in self.arms:
            if arm.reported and arm.label == self.reference:
                raise ValueError(f"arm {arm.label!r}: is the reference itself; what is reported belongs to the others")
            for one in arm.reported:
                if one.model is not None and one.model not in self.models:
                    raise ValueError(f"arm {arm.label!r}, reported: no model {one.model!r} in models")
        return self


def _unique(kind: str, names: list[str]) -> list[str]:
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"more than one {kind} is called {', '.join(sorted(doubled))}")
    return names

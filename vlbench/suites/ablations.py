"""An ablation, one file `benchmarks/ablation-*.yaml`: models trained in several ways, and what papers report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vlbench.errors import nearest
from vlbench.frozen import Frozen
from vlbench.specs.bounds import Seed
from vlbench.suites.schema import Source, unique

Percent = Annotated[float, Field(ge=0, le=100)]


class Reported(Frozen):
    """What a paper reports for an arm and for the reference, in one metric, in percent.

    Attributes:
        model: the model that the figures are compared to; None: all models of the ablation.
    """

    paper: str
    where: str
    metric: str
    reference: Percent
    arm: Percent
    model: str | None = None

    @property
    def delta(self) -> float:
        """How many percentage points the arm gains over the reference, rounded to the two digits that papers print."""
        return round(self.arm - self.reference, 2)


class Arm(Frozen):
    """One way to train.

    Attributes:
        recipe: fields of the recipe that differ from the ablation's.
        set: sizes of the preset that differ from the ablation's, by dotted keys such as `patch.patch_size`.
        reported: the figures of papers; those of the metric that is closest to question answering come first.
    """

    label: str = Field(min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    reported: tuple[Reported, ...] = ()


class Ablation(Frozen):
    """A suite whose arms are trained, each under several seeds, and compared to a reference arm.

    Attributes:
        preset: a preset of `vlbench train`.
        models: names in the catalogue; each model is trained in every arm.
        budget: of each training, as in `vlbench train --budget`.
        recipe, set: for all arms.
        reference: the label of the arm that the others are compared to.
    """

    name: str = Field(pattern=r"^ablation-[a-z0-9._-]+$")
    kind: Literal["ablation"]
    title: str
    source: Source
    preset: str = "tiny"
    models: tuple[str, ...] = Field(min_length=1)
    budget: int | str
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)
    reference: str
    arms: tuple[Arm, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _names_are_known(self) -> Ablation:
        labels = unique("arm", [arm.label for arm in self.arms])
        unique("seed", list(map(str, self.seeds)))
        unique("model", list(self.models))
        if self.reference not in labels:
            raise ValueError(f"reference: no arm {self.reference!r}; {nearest(self.reference, labels)}")
        for arm in self.arms:
            if arm.reported and arm.label == self.reference:
                raise ValueError(f"arm {arm.label!r}: is the reference; move what is reported to the other arms")
            for reported in arm.reported:
                if reported.model is not None and reported.model not in self.models:
                    raise ValueError(f"arm {arm.label!r}, reported: no model {reported.model!r} in models")
        return self

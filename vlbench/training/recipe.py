"""Recipes: which objectives a model is trained on, how often each, and how."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from vlbench.errors import InputError, SpecError, nearest, shortened
from vlbench.files.yaml_files import parse_yaml, read_mapping
from vlbench.frozen import Frozen
from vlbench.specs.bounds import not_truth
from vlbench.specs.catalog import describe
from vlbench.tasks.shapes.language import KINDS
from vlbench.tasks.shapes.scenes import FEWEST, MOST

Objective = Literal["vqa", "itm", "mlm", "mpp", "mrfr", "mrc", "mrc-kl"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)  # docs/train.md describes them
FAMILY_OF = {"mpp": "patch", "mrfr": "region", "mrc": "region", "mrc-kl": "region"}  # the others suit every family
Detector = Literal["trained", "half-trained", "ground-truth"]
RECIPE_FILES = (".yaml", ".yml")


MOST_SHARE = 1_000_000
Weight = Annotated[float, BeforeValidator(not_truth), Field(ge=0, le=MOST_SHARE)]
SampleNumber = Annotated[int, Field(ge=0, lt=2**63)]


class CurriculumStage(Frozen):
    """The samples from sample `start` on: scenes of `most` things at most, and questions of these kinds in turn.

    A model learns to use the image sooner if it starts with questions that cannot be guessed from the text. Half of the
    kinds can be guessed half of the time.
    """

    start: SampleNumber = 0
    most: int = Field(default=MOST, ge=FEWEST, le=MOST)
    kinds: tuple[str, ...] = Field(default=KINDS, min_length=1)

    @field_validator("kinds")
    @classmethod
    def _known(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(f"no kind of question {unknown[0]!r}; {nearest(unknown[0], KINDS)}")
        return kinds


class Recipe(Frozen):
    """The objectives, of which each step trains one, as UNITER does (section 3.2), and how they are trained.

    Attributes:
        shares: how often each objective is drawn, relative to the others. Objectives that do not suit a model's family
            are left out for it.
        alignment: weight of word-patch or word-region alignment, added to image-text matching (0.1 in ViLT and UNITER).
        whole_words: masks whole words (ViLT, section 3.3).
        conditional: masks one modality at a time (UNITER, section 3.2); otherwise both.
        augmentation: RandAugment of every image (ViLT, section 4.2), with the operations that do not change answers.
        sampled_pixels: number of random grid cells that a training step reads (Pixel-BERT, section 3.3.3); None takes
            the preset's.
        detector: of a region model: trained, trained on fewer samples, or replaced by the true boxes.
        stages: the kinds of questions and the number of things, and from which sample on.
    """

    shares: Mapping[Objective, Weight] = {"vqa": 1.0}
    alignment: Weight = 0.0
    whole_words: bool = True
    conditional: bool = True
    augmentation: bool = False
    sampled_pixels: Annotated[int, Field(gt=0, le=1_000_000)] | None = None
    detector: Detector = "trained"
    stages: tuple[CurriculumStage, ...] = (CurriculumStage(),)

    @field_validator("shares")
    @classmethod
    def _has_objective(cls, shares: Mapping[Objective, float]) -> Mapping[Objective, float]:
        if not sum(shares.values()):
            raise ValueError("no objective has a share above 0")
        return shares

    @field_validator("stages")
    @classmethod
    def _stages_follow_each_other(cls, stages: tuple[CurriculumStage, ...]) -> tuple[CurriculumStage, ...]:
        starts = [stage.start for stage in stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(
                "the first stage must start at sample 0, and each other stage later than the one before it"
            )
        return stages

    @model_validator(mode="after")
    def _alignment_needs_matching(self) -> Recipe:
        if self.alignment and not self.shares.get("itm"):
            raise ValueError(
                "alignment is added to image-text matching, which has no share; the objectives vqa,itm work"
            )
        return self

    def stage_at(self, sample: int) -> CurriculumStage:
        return next(stage for stage in reversed(self.stages) if sample >= stage.start)

    def shares_for(self, family: str) -> dict[str, float]:
        """The objectives that models of this family can be trained on, and their shares."""
        return {name: share for name, share in self.shares.items() if share and FAMILY_OF.get(name, family) == family}

    def objective_for(self, family: str, draw: float) -> str:
        """The objective that a random number from 0 to 1 draws."""
        shares = self.shares_for(family)
        total = sum(shares.values())
        for name, upper_bound in zip(shares, accumulate(shares.values()), strict=True):
            if draw * total < upper_bound:
                return name
        return list(shares)[-1]


def parse_objectives(text: str) -> dict[str, float]:
    """Objectives and their shares, from `vqa` or `vqa:4,mlm,itm`. Raises InputError."""
    shares: dict[str, float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, share = word.partition(":")
        if name not in OBJECTIVES:
            raise InputError(f"--objectives {word}: no such objective; {nearest(name, OBJECTIVES)}")
        if name in shares:
            raise InputError(f"--objectives {word}: {name} is named twice; name it once")
        try:
            shares[name] = float(share) if share else 1.0
        except ValueError as error:
            raise InputError(f"--objectives {word}: {share!r} is not a number; {name}:2 works") from error
        if not 0 < shares[name] <= MOST_SHARE:
            allowed = f"above 0 and at most {MOST_SHARE:,}"
            raise InputError(f"--objectives {word}: the share must be {allowed}; leave {name} out to train without it")
    if not shares:
        raise InputError(f"--objectives: none named; {', '.join(OBJECTIVES)} are known")
    return shares


def parse_recipe(text: str) -> dict[str, Any]:
    """A recipe's keys and values, from `alignment=0.1,augmentation=true` or a YAML file. Raises InputError."""
    if text.endswith(RECIPE_FILES):
        return dict(read_mapping(Path(text), "a recipe: the file must be a mapping, such as alignment: 0.1"))
    settings = [_setting(word.strip()) for word in text.split(",") if word.strip()]
    for number, (name, _) in enumerate(settings):
        if name in dict(settings[:number]):
            raise InputError(f"--recipe {name}: given twice; give it once")
    return dict(settings)


def with_changes(recipe: Recipe, changes: Mapping[str, Any], source: str | None) -> Recipe:
    """The recipe with other values of some keys, which `parse_recipe` read from `source`. Raises InputError."""
    try:
        return Recipe.model_validate(recipe.model_dump() | dict(changes))
    except ValidationError as error:
        where = source if source and source.endswith(RECIPE_FILES) else "--recipe"
        raise InputError(f"{where}: {describe(error, Recipe)}") from error


def _setting(word: str) -> tuple[str, Any]:
    name, sign, value = word.partition("=")
    if not sign or not value.strip():
        raise InputError(f"--recipe {word}: has no value; NAME=VALUE works, such as alignment=0.1, or a YAML file")
    try:
        return name.strip(), parse_yaml(value, name.strip())
    except SpecError as error:
        shown = shortened(value)
        raise InputError(
            f"--recipe {name}={shown}: {shown!r} is not a value; a number, true or a word works"
        ) from error

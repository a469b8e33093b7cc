"""What a model is trained for: which objectives, how often each, and how they are played."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError, field_validator, model_validator

from vlbench.errors import InputError, nearest
from vlbench.frozen import Frozen
from vlbench.specs.catalog import describe
from vlbench.tasks.shapes.language import KINDS
from vlbench.tasks.shapes.scenes import FEWEST, MOST
from vlbench.yaml_files import read_mapping

Objective = Literal["vqa", "itm", "mlm", "mpp", "mrfr", "mrc", "mrc-kl"]
OBJECTIVES: dict[str, str] = {
    "vqa": "questions and their answers",
    "itm": "image-text matching, half of the images another text's",
    "mlm": "masked words of captions",
    "mpp": "mean colour of masked patches",
    "mrfr": "features of masked regions",
    "mrc": "class of masked regions",
    "mrc-kl": "class distribution of masked regions",
}
OF_FAMILY = {"mpp": "patch", "mrfr": "region", "mrc": "region", "mrc-kl": "region"}
Detector = Literal["trained", "half-trained", "ground-truth"]
RECIPE_FILES = (".yaml", ".yml")


class CurriculumStage(Frozen):
    """What samples are like from `start` on: scenes of `most` things at most, and questions of these kinds in turn.

    A model that begins with questions that only a look can answer learns to look sooner than with all kinds at once,
    half of which a guess answers half of the time.
    """

    start: int = Field(default=0, ge=0)
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
    """How often each objective is played, one a step, as UNITER does (section 3.2), and how.

    Attributes:
        shares: how often each objective comes, relative to the others; a model that cannot play one goes without.
        alignment: weight of word-patch or word-region alignment, added to image-text matching (0.1 in ViLT and UNITER).
        whole_words: masks whole words (ViLT, section 3.3).
        conditional: masks one modality at a time (UNITER, section 3.2); else both.
        augmentation: RandAugment of every image (ViLT, section 4.2), by the operations that leave answers alone.
        sampled_pixels: of a grid, at random, while training (Pixel-BERT, section 3.3.3); None: the preset's.
        detector: of a region model: trained on its share of the budget, on half of that, or true boxes in its place.
        stages: what is asked and how many things there are, from which sample on.
    """

    shares: Mapping[Objective, NonNegativeFloat] = {"vqa": 1.0}
    alignment: NonNegativeFloat = 0.0
    whole_words: bool = True
    conditional: bool = True
    augmentation: bool = False
    sampled_pixels: PositiveInt | None = None
    detector: Detector = "trained"
    stages: tuple[CurriculumStage, ...] = (CurriculumStage(),)

    @field_validator("shares")
    @classmethod
    def _some_share(cls, shares: Mapping[Objective, float]) -> Mapping[Objective, float]:
        if not sum(shares.values()):
            raise ValueError("no objective has a share")
        return shares

    @field_validator("stages")
    @classmethod
    def _stages_follow_each_other(cls, stages: tuple[CurriculumStage, ...]) -> tuple[CurriculumStage, ...]:
        starts = [stage.start for stage in stages]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("the first stage starts at sample 0, each other later than the one before")
        return stages

    @model_validator(mode="after")
    def _alignment_is_played(self) -> Recipe:
        if self.alignment and not self.shares.get("itm"):
            raise ValueError(
                "alignment is added to image-text matching, which has no share; the objectives vqa,itm work"
            )
        return self

    def stage_at(self, sample: int) -> CurriculumStage:
        return next(stage for stage in reversed(self.stages) if sample >= stage.start)

    def played(self, family: str) -> dict[str, float]:
        """The shares of the objectives that models of this family can play."""
        return {name: share for name, share in self.shares.items() if share and OF_FAMILY.get(name, family) == family}

    def chosen(self, family: str, draw: float) -> str:
        """The objective that a number from 0 to 1 draws."""
        played = self.played(family)
        total = sum(played.values())
        for name, upto in zip(played, accumulate(played.values()), strict=True):
            if draw * total < upto:
                return name
        return list(played)[-1]


def parse_objectives(text: str) -> dict[str, float]:
    """`vqa`, or `vqa:4,mlm,itm`: names, and how often each comes. Raises InputError in one line."""
    shares: dict[str, float] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        name, _, often = word.partition(":")
        if name not in OBJECTIVES:
            raise InputError(f"--objectives {word}: no such objective; {nearest(name, OBJECTIVES)}")
        try:
            shares[name] = float(often) if often else 1.0
        except ValueError as error:
            raise InputError(f"--objectives {word}: {often!r} is no number; {name}:2 works") from error
        if not 0 < shares[name] < float("inf"):
            raise InputError(f"--objectives {word}: a share is more than 0; leave {name} out to go without it")
    if not shares:
        raise InputError(f"--objectives: none named; {', '.join(OBJECTIVES)} are known")
    return shares


def parse_recipe(text: str) -> dict[str, Any]:
    """Keys of a recipe and their values, from `alignment=0.1,augmentation=true` or a YAML file.

    Raises InputError in one line.
    """
    if text.endswith(RECIPE_FILES):
        return dict(read_mapping(Path(text), "a recipe: the file must be a mapping, as alignment: 0.1"))
    return dict(_setting(word.strip()) for word in text.split(",") if word.strip())


def changed(recipe: Recipe, content: Mapping[str, Any], source: str | None) -> Recipe:
    """The recipe with other values of some keys, which `parse_recipe` read from `source`.

    Raises InputError in one line.
    """
    try:
        return Recipe.model_validate(recipe.model_dump() | dict(content))
    except ValidationError as error:
        where = source if source and source.endswith(RECIPE_FILES) else "--recipe"
        raise InputError(f"{where}: {describe(error, Recipe)}") from error


def _setting(word: str) -> tuple[str, Any]:
    name, sign, value = word.partition("=")
    if not sign or not value.strip():
        raise InputError(f"--recipe {word}: has no value; NAME=VALUE works, as alignment=0.1, or a YAML file")
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise InputError(f"--recipe {word}: {value!r} is no value; a number, true or a word works") from error

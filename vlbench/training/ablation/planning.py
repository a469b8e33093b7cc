"""From a suite to the trainings that it means, all checked before the first begins."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from vlbench.errors import InputError, SpecError, nearest
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog, describe
from vlbench.suites.ablations import Ablation, Arm
from vlbench.suites.reader import LoadedAblation, put
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.ablation.outcomes import Key
from vlbench.training.budget import Budget, parse_budget
from vlbench.training.presets import Preset, read_preset, sized
from vlbench.training.recipe import Recipe
from vlbench.training.settings import TrainingSettings
from vlbench.training.train import TrainingRun

QUICK_SAMPLES, QUICK_SEEDS, QUICK_ITEMS = 512, 2, 200
QUICK_DETECTOR = {"samples": 256, "half_samples": 64}
RUNS = "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRequest:
    """What the command says of all suites; `budget` None: each suite's own."""

    budget: Budget | None
    quick: bool
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: int
    workers: int = 1


def seeds_of(suite: Ablation, wanted: AblationRequest) -> tuple[int, ...]:
    return suite.seeds[:QUICK_SEEDS] if wanted.quick else suite.seeds


def budget_of(loaded: LoadedAblation, wanted: AblationRequest) -> Budget:
    """Raises InputError where the suite's is none."""
    quick = Budget(amount=QUICK_SAMPLES) if wanted.quick else None
    return wanted.budget or quick or parse_budget(str(loaded.suite.budget), f"{loaded.path}: budget")


def planned(loaded: LoadedAblation, wanted: AblationRequest, folder: Path) -> dict[Key, TrainingRun]:
    """A training a model, arm and seed; all arms of one seed come before the next seed, so that pairs are soon whole.

    What two arms, or suites, train alike has the same folder, and is trained once.

    Raises SpecError, in one line, that names the file, the arm, the key and what would work.
    """
    suite = loaded.suite
    specs = {name: _model(name, loaded.path) for name in suite.models}
    arms = {arm.label: _arm(arm, loaded, wanted) for arm in suite.arms}
    runs: dict[Key, TrainingRun] = {}
    for seed in seeds_of(suite, wanted):
        for model, spec in specs.items():
            for label, (preset, recipe) in arms.items():
                where = f"{loaded.path}: arm {label!r}"
                own = _sized(spec, preset, recipe, suite.preset, where)
                settings = _settings(preset, budget_of(loaded, wanted), wanted, seed)
                runs[model, label, seed] = _run(own, preset, recipe, settings, suite.preset, folder, wanted)
    _check_arms_differ(runs, loaded.path)
    return runs


def _model(name: str, path: Path) -> ModelSpec:
    spec = catalog().get(name)
    if spec is None:
        raise SpecError(f"{path}: no model {name!r}; {nearest(name, catalog())}")
    if not isinstance(spec, ModelSpec):
        raise SpecError(f"{path}: {name} is a class of transformers; models of vlbench's own parts are trained")
    return spec


def _arm(arm: Arm, loaded: LoadedAblation, wanted: AblationRequest) -> tuple[Preset, Recipe]:
    """The preset and the recipe with what the suite and the arm change of them."""
    suite, where = loaded.suite, f"{loaded.path}: arm {arm.label!r}"
    try:
        preset = read_preset(suite.preset)
    except InputError as error:
        raise SpecError(f"{loaded.path}: {str(error).replace('--preset', 'preset')}") from error
    content = preset.model_dump(mode="json")
    for key, value in (suite.set | arm.set).items():
        put(content, key, value, f"{where}: set")
    if wanted.quick:
        content["detector"] |= {name: min(most, content["detector"][name]) for name, most in QUICK_DETECTOR.items()}
    recipe = preset.recipe.model_dump(mode="json") | suite.recipe | arm.recipe
    return _valid(Preset, content, f"{where}: set"), _valid(Recipe, recipe, f"{where}: recipe")


def _valid(schema: type[Any], content: Mapping[str, Any], where: str) -> Any:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, schema)}") from error


def _sized(spec: ModelSpec, preset: Preset, recipe: Recipe, name: str, where: str) -> ModelSpec:
    if not recipe.played(spec.family):
        raise SpecError(f"{where}: {spec.name} plays none of {', '.join(recipe.shares)}; vqa works for all")
    pieces, pixels = len(WordPiece(VOCABULARY)), recipe.sampled_pixels
    try:
        return sized(spec, preset, name, vocabulary=pieces, answers=len(ANSWERS), sampled_pixels=pixels)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, ModelSpec)}") from error
    except InputError as error:
        raise SpecError(f"{where}: {str(error).removeprefix('--models: ')}") from error


def _settings(preset: Preset, budget: Budget, wanted: AblationRequest, seed: int) -> TrainingSettings:
    return TrainingSettings(
        budget=budget,
        batch=preset.batch,
        learning_rate=preset.learning_rate,
        clip=preset.clip,
        seed=seed,
        precision=wanted.precision,
        threads=wanted.threads,
        workers=wanted.workers,
    )


def _run(
    spec: ModelSpec,
    preset: Preset,
    recipe: Recipe,
    settings: TrainingSettings,
    preset_name: str,
    folder: Path,
    wanted: AblationRequest,
) -> TrainingRun:
    seeded = spec.model_copy(update={"seed": settings.seed})
    content = {
        "model": seeded.hash(),
        "preset": _effective(preset, spec.family),
        "recipe": recipe.model_dump(mode="json"),
        "settings": settings.described(),
        "device": wanted.device,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    return TrainingRun(
        spec=seeded,
        preset=preset,
        preset_name=preset_name,
        recipe=recipe,
        settings=settings,
        folder=folder / RUNS / f"{spec.name}-seed{settings.seed}-{digest}",
        device=wanted.device,
        task=TASKS["shapes"],
        answers=ANSWERS,
    )


def _effective(preset: Preset, family: str) -> dict[str, Any]:
    """What of a preset is not in the model's spec and changes its training."""
    part: BaseModel = preset
    kept = {"image_side", "text_tokens"} | ({"detector"} if family == "region" else set())
    return part.model_dump(mode="json", include=kept)


def _check_arms_differ(runs: Mapping[Key, TrainingRun], path: Path) -> None:
    """Raises SpecError where two arms of a model train the same."""
    seen: dict[Path, Key] = {}
    for key, run in runs.items():
        first = seen.setdefault(run.folder, key)
        if first is not key:
            raise SpecError(f"{path}: arms {first[1]!r} and {key[1]!r} of {key[0]} train the same; change one")


def conditions(suites: Sequence[LoadedAblation], wanted: AblationRequest) -> dict[str, str]:
    """Of each suite, by its name, what all its trainings have in common, in words."""
    return {
        one.suite.name: (
            f"Preset {one.suite.preset}, {budget_of(one, wanted)} each, {wanted.precision} on {wanted.device}; "
            "accuracy of questions about the generated world, split test."
        )
        for one in suites
    }

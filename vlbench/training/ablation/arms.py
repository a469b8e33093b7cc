"""The training runs of an ablation suite, one per model, arm and seed, all checked before the first one starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from vlbench.errors import InputError, SpecError, nearest
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog, describe
from vlbench.suites.ablations import Ablation, Arm
from vlbench.suites.reader import LoadedAblation, put
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.ablation.arm_outcomes import ArmKey
from vlbench.training.budget import Budget, parse_budget
from vlbench.training.learner import TrainingSettings
from vlbench.training.preset import Preset, read_preset, with_preset_sizes
from vlbench.training.recipe import Recipe
from vlbench.training.train import TrainingRun

QUICK_SAMPLES, QUICK_SEEDS, QUICK_ITEMS = 512, 2, 200
QUICK_DETECTOR = {"samples": 256, "half_samples": 64}
RUNS = "runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRequest:
    """The command's options, for all suites. `budget` None takes that of each suite."""

    budget: Budget | None
    quick: bool
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: int
    workers: int = 1


def seeds_of(suite: Ablation, request: AblationRequest) -> tuple[int, ...]:
    return suite.seeds[:QUICK_SEEDS] if request.quick else suite.seeds


def budget_of(loaded: LoadedAblation, request: AblationRequest) -> Budget:
    """The request's budget, or the suite's. Raises InputError where that is not a budget."""
    quick = Budget(amount=QUICK_SAMPLES) if request.quick else None
    return request.budget or quick or parse_budget(str(loaded.suite.budget), f"{loaded.path}: budget")


def planned_runs(loaded: LoadedAblation, request: AblationRequest, folder: Path) -> dict[ArmKey, TrainingRun]:
    """One run per model, arm and seed. All arms of a seed come before the next seed, so that pairs are complete early.

    Two suites that train the same share the run's folder, and it is trained once.

    Raises SpecError that names the file, the arm and the key.
    """
    suite = loaded.suite
    specs = {name: _model(name, loaded.path) for name in suite.models}
    arms = {arm.label: _arm(arm, loaded, request) for arm in suite.arms}
    runs: dict[ArmKey, TrainingRun] = {}
    for seed in seeds_of(suite, request):
        for model, spec in specs.items():
            for label, (preset, recipe) in arms.items():
                where = f"{loaded.path}: arm {label!r}"
                sized = _sized(spec, preset, recipe, suite.preset, where)
                settings = _settings(preset, budget_of(loaded, request), request, seed)
                run = _run(sized, preset, recipe, settings, suite.preset, folder, request)
                runs[ArmKey(model, label, seed)] = run
    _check_arms_differ(runs, loaded.path)
    return runs


def _model(name: str, path: Path) -> ModelSpec:
    spec = catalog().get(name)
    if spec is None:
        raise SpecError(f"{path}: no model {name!r}; {nearest(name, catalog())}")
    if not isinstance(spec, ModelSpec):
        raise SpecError(f"{path}: {name} is not made of vlbench's own parts, and only such models can be trained")
    return spec


def _arm(arm: Arm, loaded: LoadedAblation, request: AblationRequest) -> tuple[Preset, Recipe]:
    """The preset and the recipe, with the changes of the suite and of the arm."""
    suite, where = loaded.suite, f"{loaded.path}: arm {arm.label!r}"
    try:
        preset = read_preset(suite.preset)
    except InputError as error:
        raise SpecError(f"{loaded.path}: {str(error).replace('--preset', 'preset')}") from error
    content = preset.model_dump(mode="json")
    for key, value in (suite.set | arm.set).items():
        put(content, key, value, f"{where}: set")
    if request.quick:
        limited = {name: min(limit, content["detector"][name]) for name, limit in QUICK_DETECTOR.items()}
        content["detector"] |= limited
    recipe = preset.recipe.model_dump(mode="json") | suite.recipe | arm.recipe
    return _valid(Preset, content, f"{where}: set"), _valid(Recipe, recipe, f"{where}: recipe")


def _valid(schema: type[Any], content: Mapping[str, Any], where: str) -> Any:
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, schema)}") from error


def _sized(spec: ModelSpec, preset: Preset, recipe: Recipe, name: str, where: str) -> ModelSpec:
    if not recipe.shares_for(spec.family):
        raise SpecError(
            f"{where}: {spec.name} cannot be trained on {', '.join(recipe.shares)}; vqa works for all models"
        )
    vocabulary, pixels = len(WordPiece(VOCABULARY)), recipe.sampled_pixels
    try:
        return with_preset_sizes(spec, preset, name, vocabulary=vocabulary, answers=len(ANSWERS), sampled_pixels=pixels)
    except ValidationError as error:
        raise SpecError(f"{where}: {describe(error, ModelSpec)}") from error
    except InputError as error:
        raise SpecError(f"{where}: {str(error).removeprefix('--models: ')}") from error


def _settings(preset: Preset, budget: Budget, request: AblationRequest, seed: int) -> TrainingSettings:
    return TrainingSettings(
        budget=budget,
        batch=preset.batch,
        learning_rate=preset.learning_rate,
        clip=preset.clip,
        seed=seed,
        precision=request.precision,
        threads=request.threads,
        workers=request.workers,
    )


def _run(
    spec: ModelSpec,
    preset: Preset,
    recipe: Recipe,
    settings: TrainingSettings,
    preset_name: str,
    folder: Path,
    request: AblationRequest,
) -> TrainingRun:
    seeded = spec.model_copy(update={"seed": settings.seed})
    content = {
        "model": seeded.hash(),
        "preset": _rest_of_preset(preset, spec.family),
        "recipe": recipe.model_dump(mode="json"),
        "settings": settings.identity(),
        "device": request.device,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]
    return TrainingRun(
        spec=seeded,
        preset=preset,
        preset_name=preset_name,
        recipe=recipe,
        settings=settings,
        folder=folder / RUNS / f"{spec.name}-seed{settings.seed}-{digest}",
        device=request.device,
        task=TASKS["shapes"],
        answers=ANSWERS,
    )


def _rest_of_preset(preset: Preset, family: str) -> dict[str, Any]:
    """What of a preset changes the training and is not in the model's spec."""
    keys = {"image_side", "text_tokens"} | ({"detector"} if family == "region" else set())
    return preset.model_dump(mode="json", include=keys)


def _check_arms_differ(runs: Mapping[ArmKey, TrainingRun], path: Path) -> None:
    """Raises SpecError where two arms of a model train the same."""
    seen: dict[Path, ArmKey] = {}
    for key, run in runs.items():
        first = seen.setdefault(run.folder, key)
        if first is not key:
            raise SpecError(f"{path}: arms {first.arm!r} and {key.arm!r} of {key.model} train the same; change one")


def conditions(suites: Sequence[LoadedAblation], request: AblationRequest) -> dict[str, str]:
    """What all trainings of a suite have in common, in words, by the suite's name."""
    return {
        loaded.suite.name: (
            f"Preset {loaded.suite.preset}, {budget_of(loaded, request)} each, {request.precision} on "
            f"{request.device}; accuracy of questions about the generated world, split test."
        )
        for loaded in suites
    }

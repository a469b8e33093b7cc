"""What `vlbench train` is asked to do, and its training runs, all checked before the first one starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.evaluation.workers import training_workers
from vlbench.runner.reader import check_schemas
from vlbench.specs import AnySpec, ModelSpec
from vlbench.specs.catalog import resolve
from vlbench.tasks.items import Item, check_images
from vlbench.tasks.registry import Task, task_named, trainable_tasks
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.budget import Budget, parse_budget
from vlbench.training.learner import TrainingSettings
from vlbench.training.preset import Preset, read_preset, with_preset_sizes
from vlbench.training.recipe import Recipe, parse_objectives, parse_recipe, with_changes
from vlbench.training.train import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """The command's options; None takes the preset's value, and for `workers` a number by the machine's cores."""

    models: str
    task: str
    data: Path | None
    preset: str
    budget: str | None
    objectives: str | None
    recipe: str | None
    seed: int
    batch: int | None
    accumulate: int
    learning_rate: float | None
    workers: int | None
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"] | None
    threads: int


def training_runs(request: TrainRequest, folder: Path) -> list[TrainingRun]:
    """One run per model. Raises InputError if a model cannot be trained so, or the folder is of another schema."""
    check_schemas(folder)
    task, preset = task_named(request.task), read_preset(request.preset)
    items = _items(task, request.data)
    answers = tuple(sorted({item.answers[0] for item in items})) if items else ANSWERS
    recipe = _recipe(request, preset, task, has_items=bool(items))
    settings = _settings(request, preset)
    specs = [_spec(spec, request, preset, recipe, len(answers)) for spec in resolve(request.models)]
    for spec in specs:
        if items and spec.family == "region":
            raise InputError(f"--task {task.name}: has no boxes to train the detector of {spec.name} on; shapes has")
    return [
        TrainingRun(
            spec=spec,
            preset=preset,
            preset_name=request.preset,
            recipe=recipe,
            settings=settings,
            folder=folder / spec.name,
            device=request.device,
            task=task,
            answers=answers,
            items=tuple(items),
        )
        for spec in specs
    ]


def _items(task: Task, data: Path | None) -> list[Item]:
    """The training split; empty for the generated world."""
    if task.name == "shapes":
        return []
    if not task.has_one_answer:
        raise InputError(f"--task {task.name}: models are trained on {' or '.join(trainable_tasks())}")
    if data is None:
        raise InputError(f"--task {task.name}: needs its files; --data DIR names their folder")
    items = task.items(data, task.training)
    check_images(path for item in items for path in item.images)
    return items


def _recipe(request: TrainRequest, preset: Preset, task: Task, *, has_items: bool) -> Recipe:
    if has_items and request.recipe:
        raise InputError(f"--recipe: {task.name} has only questions, which need no recipe; --task shapes takes one")
    changes = parse_recipe(request.recipe) if request.recipe else {}
    if request.objectives:
        changes["shares"] = parse_objectives(request.objectives)
    recipe = with_changes(preset.recipe, changes, request.recipe)
    if has_items and set(recipe.shares) != {"vqa"}:
        raise InputError(f"--objectives: {task.name} has only questions; --objectives vqa works")
    return recipe


def _spec(spec: AnySpec, request: TrainRequest, preset: Preset, recipe: Recipe, answers: int) -> ModelSpec:
    sized = with_preset_sizes(
        spec,
        preset,
        request.preset,
        vocabulary=len(WordPiece(VOCABULARY)),
        answers=answers,
        sampled_pixels=recipe.sampled_pixels,
    )
    if not recipe.shares_for(sized.family):
        raise InputError(
            f"--objectives: {sized.name} cannot be trained on {', '.join(recipe.shares)}; vqa works for all models"
        )
    return sized.model_copy(update={"seed": request.seed})


def _settings(request: TrainRequest, preset: Preset) -> TrainingSettings:
    precision = request.precision or ("bf16" if request.device == "cuda" else "fp32")
    workers = training_workers(request.device, request.threads) if request.workers is None else request.workers
    try:
        return TrainingSettings(
            budget=parse_budget(request.budget) if request.budget else Budget(amount=preset.samples),
            batch=request.batch or preset.batch,
            accumulate=request.accumulate,
            learning_rate=request.learning_rate or preset.learning_rate,
            clip=preset.clip,
            seed=request.seed,
            precision=precision,
            threads=request.threads,
            workers=workers,
        )
    except ValidationError as error:
        raise InputError(f"--accumulate {request.accumulate}: {error.errors()[0]['msg']}") from error

"""From what a command asks for to the runs that it means, all checked before the first begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vlbench.errors import InputError
from vlbench.specs import AnySpec, ModelSpec
from vlbench.specs.catalog import resolve
from vlbench.tasks.items import Item, check_images
from vlbench.tasks.registry import TASKS, Task, task_named
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.shapes.language import ANSWERS
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training.budget import Budget, parse_budget
from vlbench.training.presets import Preset, read_preset, sized
from vlbench.training.recipe import Recipe, changed, parse_objectives, parse_recipe
from vlbench.training.settings import TrainingSettings
from vlbench.training.train import TrainingRun


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What a command says, None where it leaves it to the preset."""

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
    workers: int
    device: Literal["cpu", "cuda"]
    precision: Literal["fp32", "bf16"] | None
    threads: int


def planned(wanted: TrainRequest, folder: Path) -> list[TrainingRun]:
    """Raises InputError, in one line, where something cannot be trained so."""
    task, preset = task_named(wanted.task), read_preset(wanted.preset)
    items = _items(task, wanted.data)
    answers = tuple(sorted({item.answers[0] for item in items})) if items else ANSWERS
    if items and wanted.recipe:
        raise InputError(
            f"--recipe: {task.name} has questions alone, all asked from the first on; shapes takes a recipe"
        )
    changes = parse_recipe(wanted.recipe) if wanted.recipe else {}
    if wanted.objectives:
        changes["shares"] = parse_objectives(wanted.objectives)
    recipe = changed(preset.recipe, changes, wanted.recipe)
    if items and set(recipe.shares) != {"vqa"}:
        raise InputError(f"--objectives: {task.name} has questions alone; --objectives vqa works")
    settings = _settings(wanted, preset)
    specs = [_spec(one, wanted, preset, recipe, len(answers)) for one in resolve(wanted.models)]
    for spec in specs:
        if items and spec.family == "region":
            raise InputError(f"--task {task.name}: has no boxes to train the detector of {spec.name} on; shapes has")
    return [
        TrainingRun(
            spec=spec,
            preset=preset,
            preset_name=wanted.preset,
            recipe=recipe,
            settings=settings,
            folder=folder / spec.name,
            device=wanted.device,
            task=task,
            answers=answers,
            items=tuple(items),
        )
        for spec in specs
    ]


def _items(task: Task, data: Path | None) -> list[Item]:
    """Of the training split; none of the generated world."""
    if task.name == "shapes":
        return []
    if not task.has_one_answer:
        known = [name for name, one in TASKS.items() if one.has_one_answer]
        raise InputError(f"--task {task.name}: models are trained on {' or '.join(known)}")
    if data is None:
        raise InputError(f"--task {task.name}: needs its files; --data DIR names their folder")
    items = task.items(data, task.training)
    check_images(path for item in items for path in item.images)
    return items


def _spec(one: AnySpec, wanted: TrainRequest, preset: Preset, recipe: Recipe, answers: int) -> ModelSpec:
    pieces = len(WordPiece(VOCABULARY))
    spec = sized(one, preset, wanted.preset, vocabulary=pieces, answers=answers, sampled_pixels=recipe.sampled_pixels)
    if not recipe.played(spec.family):
        raise InputError(f"--objectives: {spec.name} plays none of {', '.join(recipe.shares)}; vqa works for all")
    return spec.model_copy(update={"seed": wanted.seed})


def _settings(wanted: TrainRequest, preset: Preset) -> TrainingSettings:
    precision = wanted.precision or ("bf16" if wanted.device == "cuda" else "fp32")
    try:
        return TrainingSettings(
            budget=parse_budget(wanted.budget) if wanted.budget else Budget(amount=preset.samples),
            batch=wanted.batch or preset.batch,
            accumulate=wanted.accumulate,
            learning_rate=wanted.learning_rate or preset.learning_rate,
            clip=preset.clip,
            seed=wanted.seed,
            precision=precision,
            threads=wanted.threads,
            workers=wanted.workers,
        )
    except ValidationError as error:
        raise InputError(f"--accumulate {wanted.accumulate}: {error.errors()[0]['msg']}") from error

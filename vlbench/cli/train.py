"""`vlbench train`: trains every architecture the same way, then measures its accuracy and latency.

Exit codes: 0 all trained, 1 some latency could not be measured, or memory ran out, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.evaluate import measured_latency
from vlbench.cli.options import (
    DeviceOption,
    Format,
    FormatOption,
    OutOption,
    ResumeOption,
    ThreadsOption,
    default_folder,
    unfinished_folder,
)
from vlbench.cli.printing import draw_frontier, print_evaluations
from vlbench.errors import device_errors_in_one_line
from vlbench.system.console import print_message
from vlbench.tasks.registry import trainable_tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.evaluation.processes import Process
    from vlbench.runner.records import Evaluation, Training
    from vlbench.specs import ModelSpec
    from vlbench.tasks.registry import Task
    from vlbench.training.train import TrainingRun


class PresetName(StrEnum):
    tiny = "tiny"
    small = "small"
    base = "base"


class TrainingPrecision(StrEnum):
    fp32 = "fp32"
    bf16 = "bf16"


def train(
    models: Annotated[str, typer.Option(help="Names, aliases, globs or YAML files, separated by commas.")],
    task: Annotated[
        str, typer.Option(metavar="TASK", help=f"{' or '.join(trainable_tasks())}; data sets need --data.")
    ] = "shapes",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with the data set's official files.")] = None,
    preset: Annotated[PresetName, typer.Option(help="Sizes that all models get.")] = PresetName.tiny,
    budget: Annotated[
        str | None,
        typer.Option(metavar="BUDGET", help="25min, 2000steps, 200000 (samples) or 5e15macs; by default the preset's."),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="vqa, itm, mlm, mpp, mrfr, mrc, mrc-kl; vqa:4,mlm trains vqa four times as often."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="Changes of the recipe, such as alignment=0.1,augmentation=true (also whole_words, conditional, "
            "sampled_pixels, detector), or a YAML file.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**63 - 1, help="Seed of the first weights, the samples and all other random choices."),
    ] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples per step; by default the preset's.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Micro-batches per step.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-9, max=1000, help="The highest, after the warm-up; by default the preset's.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Data-loading worker processes of each process; 0 loads in the main process. By default its cores but "
            "one, at most 16, on a GPU, and the cores that --threads leaves free, at least 1, on a CPU.",
        ),
    ] = None,
    latency: Annotated[bool, typer.Option(help="Also measure the latency, in fresh processes.")] = True,
    latency_budget: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Time for the latency of each model.")
    ] = 20,
    device: DeviceOption = "auto",
    precision: Annotated[
        TrainingPrecision | None, typer.Option(help="By default bf16 on a GPU and fp32 on a CPU.")
    ] = None,
    threads: ThreadsOption = None,
    output: FormatOption = Format.table,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train all architectures the same way on a generated world, and print their accuracy and latency.

    The same command with its --out, or with --resume, resumes a killed run. Under torchrun, the processes share each
    batch.
    """
    from vlbench.evaluation.processes import compute_device, joined_processes
    from vlbench.evaluation.session import warn_from_first
    from vlbench.measuring.machine import physical_cores
    from vlbench.training.train_request import TrainRequest, training_runs

    request = TrainRequest(
        models=models,
        task=task,
        data=data,
        preset=preset.value,
        budget=budget,
        objectives=objectives,
        recipe=recipe,
        seed=seed,
        batch=batch,
        accumulate=accumulate,
        learning_rate=learning_rate,
        workers=workers,
        device=compute_device(device),
        precision=precision.value if precision else None,
        threads=threads or physical_cores(),
    )
    with joined_processes() as process:
        folder = process.broadcast((unfinished_folder(out) if resume and process.first else out) or default_folder())
        runs = training_runs(request, folder)
        trained = _trained(runs, process, folder)
        if note := _waiting_note(runs, trained):
            warn_from_first(process, note)
        evaluations = _evaluated(runs, trained, data or Path(), folder, process, request.threads)
        if not process.first:
            return
    results = []
    if latency:
        from vlbench.runner.plan import RunSettings

        specs = [run.trained_spec for run in runs]
        settings = RunSettings(device=request.device, threads=request.threads, budget_seconds=latency_budget)
        results = measured_latency(specs, folder, [settings])
    print_evaluations(evaluations, results, output)
    draw_frontier(results, evaluations, folder if results else None)
    print_message(f"results: {folder}")
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


LESS_MEMORY = "a smaller --batch or a larger --accumulate needs less"


def _trained(runs: Sequence[TrainingRun], process: Process, folder: Path) -> dict[str, Training]:
    """Raises typer.Exit with 130 after Ctrl-C, DeviceError where memory runs out or a GPU fails."""
    from vlbench.training.checkpoint import Interrupted
    from vlbench.training.progress import training_display
    from vlbench.training.train import train_one

    try:
        with (
            device_errors_in_one_line(LESS_MEMORY, lambda: _kept(folder)),
            training_display(shown=process.first) as display,
        ):
            return {run.spec.name: train_one(run, process=process, listener_for=display.listener) for run in runs}
    except Interrupted as error:
        if process.first:
            print_message(f"interrupted: {error}; the same command with --out {folder} resumes")
        raise typer.Exit(130) from None


MUCH_WAITING = 0.1  # of the time of training


def _waiting_note(runs: Sequence[TrainingRun], trained: dict[str, Training]) -> str:
    """Says how long a GPU waited for data, where that is much."""
    shares = {name: share for name, training in trained.items() if (share := training.waiting_share) is not None}
    waits = [f"{share:.0%} of the training of {name}" for name, share in shares.items() if share > MUCH_WAITING]
    if runs[0].device == "cpu" or not waits:
        return ""
    return f"the GPU waited for data {', '.join(waits)}; more --workers than {runs[0].settings.workers} help"


def _kept(folder: Path) -> str:
    """What training has left so far. Another batch would start again, so it needs another folder."""
    from vlbench.training.checkpoint import CHECKPOINT

    if not any(folder.rglob(CHECKPOINT)):
        return ""
    return f" in another folder; the training so far is kept: the same command with --out {folder} resumes"


RETRIEVAL_IMAGES = 100  # every text is scored with every image, so all of the gallery would take minutes


def _evaluated(
    runs: Sequence[TrainingRun], trained: dict[str, Training], data: Path, folder: Path, process: Process, threads: int
) -> list[Evaluation]:
    """The accuracy of each model in the first task that a trained head of it answers."""
    from vlbench.evaluation.session import evaluate_all, warn_from_first
    from vlbench.evaluation.split import EvaluationSettings, Split
    from vlbench.evaluation.workers import reading_workers
    from vlbench.training.trained_model import tasks_of

    by_task: dict[Task, list[ModelSpec]] = {}
    for run in runs:
        tasks = tasks_of(run.trained_spec, run.task)
        for task in tasks[:1]:
            by_task.setdefault(task, []).append(run.trained_spec)
        if note := _note(run, tasks):
            warn_from_first(process, note)
    evaluations: list[Evaluation] = []
    for task, specs in by_task.items():
        limit = RETRIEVAL_IMAGES if task.has_gallery else None
        settings = EvaluationSettings(
            task=task,
            data=data,
            split=task.splits[0],
            limit=limit,
            batch=64,
            workers=reading_workers(runs[0].device),
            device=runs[0].device,
        )
        split = Split(settings)
        heads = [split.head_for(spec) for spec in specs]
        command = f"vlbench eval --models {runs[0].folder}/model.yaml --task {task.name} --batch 8"
        with device_errors_in_one_line(f"what was trained is kept, and {command} needs less"):
            evaluated = evaluate_all(heads, split, folder, process=process, threads=threads, training=trained)
            evaluations += evaluated.evaluations
    return evaluations


def _note(run: TrainingRun, tasks: Sequence[Task]) -> str:
    """Which tasks a model can answer, where that is not only the one that it was trained on."""
    if tasks == [run.task]:
        return ""
    if not tasks:
        return f"{run.spec.name}: no head for a task was trained, so it has no accuracy; the objectives vqa and itm do"
    evaluated, *others = [task.name for task in tasks]
    command = (
        f"; vlbench eval --models {run.folder}/model.yaml --task {others[0]} evaluates that, too" if others else ""
    )
    return f"{run.spec.name}: its trained heads answer {' and '.join([evaluated, *others])}{command}"

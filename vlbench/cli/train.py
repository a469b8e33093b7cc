"""`vlbench train`: the same training for every architecture, then its accuracy beside its latency.

Exit codes: 0 all trained, 1 some latency could not be measured, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.evaluate import measured_latency
from vlbench.cli.options import (
    DeviceName,
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.evaluation.processes import Process
    from vlbench.runner.records import Evaluation, Training
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
        str, typer.Option(metavar="TASK", help="shapes, the generated world, or easy-vqa with its --data.")
    ] = "shapes",
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="A data set, in its official files.")] = None,
    preset: Annotated[PresetName, typer.Option(help="Sizes of every model.")] = PresetName.tiny,
    budget: Annotated[
        str | None,
        typer.Option(metavar="BUDGET", help="25min, 2000steps, 200000 (samples) or 5e15macs; by default the preset's."),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="vqa, itm, mlm, mpp, mrfr, mrc, mrc-kl; vqa:4,mlm plays vqa more."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="What else to change, as alignment=0.1,augmentation=true (also whole_words, conditional, "
            "sampled_pixels, detector), or a YAML file.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of first weights, samples and all other choices.")] = 0,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples of a step; by default the preset's.")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Passes that a step is cut into.")] = 1,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-9, help="At its height; by default the preset's.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw scenes; 0: between the steps.")] = 1,
    latency: Annotated[bool, typer.Option(help="Measure the latency, too, in processes of its own.")] = True,
    latency_budget: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Time for the latency of each model.")
    ] = 20,
    device: DeviceOption = DeviceName.auto,
    precision: Annotated[
        TrainingPrecision | None, typer.Option(help="By default bf16 on a GPU, fp32 elsewhere.")
    ] = None,
    threads: ThreadsOption = None,
    output: FormatOption = Format.table,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Train architectures alike on a generated world, and print their accuracy beside their latency.

    A killed run goes on where it was: the same command with its --out, or --resume. Under torchrun, all processes share
    each batch.
    """
    from vlbench.evaluation.processes import joined_processes, resolve_device
    from vlbench.measure.machine import physical_cores
    from vlbench.training.checkpoint import Interrupted
    from vlbench.training.planning import TrainRequest, planned

    wanted = TrainRequest(
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
        device=resolve_device(device.value),
        precision=precision.value if precision else None,
        threads=threads or physical_cores(),
    )
    with joined_processes() as process:
        folder = process.broadcast((unfinished_folder(out) if resume and process.first else out) or default_folder())
        runs = planned(wanted, folder)
        try:
            trained = _trained(runs, process)
        except Interrupted as stop:
            if process.first:
                print(f"interrupted: {stop}; the same command with --out {folder} goes on", file=sys.stderr)
            raise typer.Exit(130) from None
        found = _evaluated(runs, trained, data or Path(), folder, process, wanted.threads)
        if not process.first:
            return
    results = []
    if latency:
        specs = [run.trained_spec for run in runs]
        results = measured_latency(
            specs, folder, device=wanted.device, precision="fp32", threads=wanted.threads, budget=latency_budget
        )
    print_evaluations(found, results, output)
    draw_frontier(results, found, folder if results else None)
    print(f"results: {folder}", file=sys.stderr)
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


def _trained(runs: Sequence[TrainingRun], process: Process) -> dict[str, Training]:
    from vlbench.training.progress import training_display
    from vlbench.training.train import train_one

    with training_display(shown=process.first) as display:
        return {run.spec.name: train_one(run, process=process, listen=display.listener) for run in runs}


def _evaluated(
    runs: Sequence[TrainingRun], trained: dict[str, Training], data: Path, folder: Path, process: Process, threads: int
) -> list[Evaluation]:
    from vlbench.evaluation.session import evaluate_all
    from vlbench.evaluation.split import EvaluationSettings, Split

    task = runs[0].task
    split = Split(EvaluationSettings(task=task, data=data, split=task.splits[0], batch=64, device=runs[0].device))
    questions = [split.head_for(run.trained_spec) for run in runs]
    return evaluate_all(questions, split, folder, process=process, threads=threads, training=trained)

"""`vlbench eval`: accuracy on a data set, beside the latency of the same model on this machine.

Exit codes: 0 all evaluated, 1 some latency could not be measured, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import (
    DetectorOption,
    DeviceName,
    DeviceOption,
    Format,
    FormatOption,
    FrontierOption,
    OutOption,
    PrecisionName,
    PrecisionOption,
    ResumeOption,
    ThreadsOption,
    WeightsOption,
    default_folder,
    unfinished_folder,
)
from vlbench.cli.printing import draw_frontier, print_evaluations
from vlbench.cli.score import DataOption, SplitOption, TaskOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.measure.records import Precision
    from vlbench.runner.plan import Device
    from vlbench.runner.records import Result
    from vlbench.specs import AnySpec


def eval_(
    models: Annotated[str, typer.Option(help="Names, aliases, globs or YAML files, separated by commas.")],
    task: TaskOption,
    data: DataOption = None,
    weights: WeightsOption = None,
    split: SplitOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many items, or images to search.")] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Regions found earlier, for region models: a TSV, or an LMDB's folder."),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL=]FILE", help="Which answer each class is, where weights do not say; repeatable."),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL=]FILE", help="The vocab.txt, where none lies beside the weights; repeatable."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Items in one forward pass of the evaluation.")] = 16,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images; 0: none but the model's own.")] = 0,
    control: Annotated[bool, typer.Option(help="Ask again with the images of other items.")] = True,
    latency: Annotated[bool, typer.Option(help="Measure the latency, too, in processes of its own.")] = True,
    budget: Annotated[
        float, typer.Option(min=0.001, metavar="SECONDS", help="Time for the latency of each model.")
    ] = 45,
    detector: DetectorOption = None,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    threads: ThreadsOption = None,
    output: FormatOption = Format.table,
    figures: FrontierOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Evaluate models on a data set, and measure their latency beside it.

    Predictions are written in the benchmark's submission format. What was answered before a kill is not asked again.
    Under torchrun, all its processes share the items.
    """
    from vlbench.evaluation.answers import files_by_model
    from vlbench.evaluation.processes import device_named, joined
    from vlbench.evaluation.session import evaluate_all
    from vlbench.evaluation.split import EvaluationSettings, Split
    from vlbench.measure.machine import physical_cores
    from vlbench.runner.plan import through_engine
    from vlbench.specs.catalog import resolve
    from vlbench.specs.weights import with_weights
    from vlbench.tasks.registry import task_named

    chosen = task_named(task)
    specs = with_weights(resolve(models), weights or [])
    specs = through_engine(specs, detector.value if detector else None, precision.value)
    settings = EvaluationSettings(
        task=chosen,
        data=chosen.folder(data),
        split=chosen.checked(split or chosen.splits[0]),
        limit=limit,
        batch=batch,
        workers=workers,
        device=device_named(device.value),
        precision=precision.value,
        features=features,
        answers=files_by_model("--answers", answers or [], specs),
        vocabulary=files_by_model("--vocabulary", vocabulary or [], specs),
        control=control,
    )
    asked_split = Split(settings)
    questions = [asked_split.head_for(spec) for spec in specs]
    for one in questions:
        asked_split.check_for(one.spec)
    with joined() as process:
        folder = process.agree((unfinished_folder(out) if resume and process.first else out) or default_folder())
        count = threads or physical_cores()
        found = evaluate_all(questions, asked_split, folder, process=process, threads=count)
        if not process.first:
            return
    results = []
    if latency:
        asked = [one.spec for one in questions]
        results = measured_latency(
            asked, folder, device=settings.device, precision=settings.precision, threads=count, budget=budget
        )
    print_evaluations(found, results, output)
    draw_frontier(results, found, figures)
    print(f"results: {folder}", file=sys.stderr)
    if any(result.status != "ok" for result in results):
        raise typer.Exit(1)


def measured_latency(
    specs: Sequence[AnySpec], folder: Path, *, device: Device, precision: Precision, threads: int, budget: float
) -> list[Result]:
    """The latency of models with one example, each in fresh processes."""
    from vlbench.inputs import read_example, short_text
    from vlbench.runner.benchmark import benchmark
    from vlbench.runner.plan import RunSettings

    settings = RunSettings(device=device, precision=precision, threads=threads, budget_seconds=budget)
    run = benchmark(specs, read_example(None, short_text(specs)), settings, folder=folder)
    if run.interrupted:
        print("interrupted: the accuracies are kept", file=sys.stderr)
        raise typer.Exit(130)
    return run.results

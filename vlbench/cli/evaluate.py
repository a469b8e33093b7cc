"""`vlbench eval`: accuracy on a data set, next to the latency of the same model on this machine.

Exit codes: 0 success, 1 an accuracy or a latency could not be measured, or memory ran out, 2 bad input,
130 interrupted.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import (
    BackendsOption,
    DetectorOption,
    DeviceOption,
    Format,
    FormatOption,
    FrontierOption,
    OutOption,
    PrecisionName,
    PrecisionsOption,
    ResumeOption,
    ThreadsOption,
    WeightsOption,
    default_folder,
    parse_names,
    unfinished_folder,
)
from vlbench.cli.printing import draw_frontier, print_evaluations
from vlbench.cli.score import DataOption, SplitOption, TaskOption
from vlbench.errors import InputError, device_errors_in_one_line
from vlbench.runner.backends import BACKENDS, EAGER, check_pair
from vlbench.runner.limits import MOST_BATCH, MOST_BUDGET_SECONDS
from vlbench.system.console import print_error, print_message
from vlbench.tasks.registry import task_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.runner.plan import RunSettings
    from vlbench.runner.records import Result
    from vlbench.specs import AnySpec


def eval_(
    models: Annotated[str, typer.Option(help="Names, aliases, globs or YAML files, separated by commas.")],
    task: TaskOption,
    data: DataOption = None,
    weights: WeightsOption = None,
    split: SplitOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Evaluate only the first N items, or images of a gallery.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Precomputed regions, for region models: a TSV file, or the folder of an LMDB."
        ),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[MODEL=]FILE", help="Answers of the head's classes, if the weights do not name them; repeatable."
        ),
    ] = None,
    vocabulary: Annotated[
        list[str] | None,
        typer.Option(metavar="[MODEL=]FILE", help="vocab.txt, if there is none next to the weights; repeatable."),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=MOST_BATCH, help="Items in one forward pass of the evaluation.")
    ] = 16,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Data-loading worker processes of each process; 0 loads in the main process. By default its cores but "
            "one, at most 16, on a GPU, and 0 on a CPU.",
        ),
    ] = None,
    control: Annotated[bool, typer.Option(help="Also evaluate with shuffled images, as a control.")] = True,
    latency: Annotated[bool, typer.Option(help="Also measure the latency, in separate processes.")] = True,
    budget: Annotated[
        float,
        typer.Option(
            min=0.001, max=MOST_BUDGET_SECONDS, metavar="SECONDS", help="Time to measure the latency of each model."
        ),
    ] = 45,
    detector: DetectorOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionsOption = "fp32",
    backend: BackendsOption = EAGER,
    threads: ThreadsOption = None,
    output: FormatOption = Format.table,
    figures: FrontierOption = None,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Evaluate models on a data set, and measure their latency.

    Each backend and precision is evaluated by itself and compared to eager PyTorch in fp32. Predictions are written in
    the benchmark's submission format. With --resume, a run that was killed continues where it stopped. Under
    torchrun, all processes share the items.
    """
    from vlbench.evaluation.answers import files_by_model
    from vlbench.evaluation.processes import compute_device, joined_processes
    from vlbench.evaluation.session import evaluate_all
    from vlbench.evaluation.split import EvaluationSettings, Split
    from vlbench.evaluation.workers import reading_workers
    from vlbench.measuring.machine import physical_cores
    from vlbench.runner.plan import RunSettings, pairs_of, through_engine
    from vlbench.specs.catalog import resolve
    from vlbench.specs.weights import with_weights

    chosen = task_named(task)
    specs = with_weights(resolve(models), weights or [])
    specs = through_engine(specs, detector.value if detector else None, "fp32")
    resolved, count = compute_device(device), threads or physical_cores()
    precisions: list[Any] = parse_names("--precision", precision, list(PrecisionName))
    several = pairs_of(
        RunSettings(device=resolved, threads=count, budget_seconds=budget),
        parse_names("--backend", backend, BACKENDS),
        precisions,
    )
    usable = usable_settings(several, specs)
    settings = EvaluationSettings(
        task=chosen,
        data=chosen.folder(data),
        split=chosen.checked(split or chosen.splits[0]),
        limit=limit,
        batch=batch,
        workers=reading_workers(resolved) if workers is None else workers,
        device=resolved,
        features=features,
        answers=files_by_model("--answers", answers or [], specs),
        vocabulary=files_by_model("--vocabulary", vocabulary or [], specs),
        control=control,
    )
    evaluated_split = Split(settings)
    heads = [evaluated_split.head_for(spec) for spec in specs]
    for head in heads:
        evaluated_split.check_for(head.spec)
    with joined_processes() as process:
        folder = process.broadcast((unfinished_folder(out) if resume and process.first else out) or default_folder())
        pairs = [(some.backend, some.precision) for some in usable]
        with device_errors_in_one_line("a smaller --batch needs less"):
            run = evaluate_all(heads, evaluated_split, folder, process=process, threads=count, pairs=pairs)
        if not process.first:
            return
    results = []
    if latency:
        results = measured_latency([head.spec for head in heads], folder, usable)
    print_evaluations(run.evaluations, results, output)
    draw_frontier(results, run.evaluations, figures)
    print_message(f"results: {folder}")
    if run.failures or any(result.status != "ok" for result in results):
        raise typer.Exit(1)


def usable_settings(several: Sequence[RunSettings], specs: Sequence[AnySpec]) -> list[RunSettings]:
    """Those whose backend converts stages and computes in their precision, for these models; says why others are left
    out. Raises InputError if none is left."""
    from vlbench.runner.plan import accepted, through_engine

    def check(some: RunSettings) -> None:
        if "stages" not in BACKENDS[some.backend].scopes:
            raise InputError(f"--backend {some.backend}: executes batches of one size alone; {EAGER} works")
        check_pair(some.backend, some.precision, some.device)
        through_engine(specs, None, some.precision)

    usable, refusals = accepted(several, check)
    if not usable:
        raise refusals[0]
    if os.environ.get("RANK", "0") == "0":
        for refusal in refusals:
            print_error(f"left out: {refusal}")
    return usable


def measured_latency(specs: Sequence[AnySpec], folder: Path, settings: Sequence[RunSettings]) -> list[Result]:
    """The latency of each model with one example under each of the settings, measured in fresh processes."""
    from vlbench.inputs import read_example, short_text
    from vlbench.runner.benchmark import benchmark

    release_gpu_memory()
    run = benchmark(specs, read_example(None, short_text(specs)), settings, folder=folder)
    if run.interrupted:
        print_message("interrupted: the accuracies are kept")
        raise typer.Exit(130)
    return run.results


def release_gpu_memory() -> None:
    """Gives back what this process still holds of a GPU, so that a model that is measured there has it."""
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()

"""`vlbench run` and `show`. Exit codes: 0 all measured, 1 some models could not be, 2 bad input, 130 interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlbench.cli.options import (
    BackendsOption,
    BatchOption,
    DetectorOption,
    DeviceOption,
    Format,
    FormatOption,
    FrontierOption,
    ImageSizeOption,
    InputOption,
    L2Name,
    L2Option,
    OutOption,
    PrecisionName,
    PrecisionsOption,
    RestartsOption,
    ResumeOption,
    ScopeName,
    ScopeOption,
    StagesOption,
    TextTokensOption,
    ThreadsOption,
    WeightsOption,
    WithinOption,
    default_folder,
    parse_names,
    parse_overrides,
    parse_share,
    parse_size,
    unfinished_folder,
)
from vlbench.cli.printing import draw_frontier, print_evaluations, print_kept, print_results, print_sampled
from vlbench.errors import InputError
from vlbench.runner.backends import BACKENDS, EAGER
from vlbench.runner.limits import MOST_BUDGET_SECONDS
from vlbench.system.console import print_error, print_message

if TYPE_CHECKING:
    from vlbench.runner.records import Result


def run(
    models: Annotated[
        str,
        typer.Option(
            help="Names, aliases, globs or YAML files, separated by commas (vlbench list shows all); or external "
            "modules: timm:NAME, open_clip:NAME, hub:ID, a folder of weights, PACKAGE.MODULE:FUNCTION."
        ),
    ],
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionsOption = "fp32",
    backend: BackendsOption = EAGER,
    scope: ScopeOption = ScopeName.stages,
    batch: BatchOption = 1,
    l2: L2Option = L2Name.warm,
    detector: DetectorOption = None,
    image: Annotated[Path | None, typer.Option(help="A photograph; by default matplotlib's of Grace Hopper.")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence about it.")] = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
    inputs: InputOption = None,
    stages: StagesOption = None,
    threads: ThreadsOption = None,
    budget: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=MOST_BUDGET_SECONDS,
            metavar="SECONDS",
            help="Time for each model, all its restarts together; a week at most.",
        ),
    ] = 45,
    within: WithinOption = "2%",
    restarts: RestartsOption = None,
    output: FormatOption = Format.table,
    out: OutOption = None,
    resume: ResumeOption = False,
) -> None:
    """Measure models on this machine, stage by stage.

    Measurements that the results folder already holds for this machine and these settings are kept, not repeated.
    """
    from vlbench.inputs import read_example
    from vlbench.measuring.machine import physical_cores
    from vlbench.runner.benchmark import benchmark
    from vlbench.runner.peaks import read_peaks
    from vlbench.runner.plan import RunSettings, pairs_of
    from vlbench.runner.reader import with_samples
    from vlbench.runner.sources import find_models
    from vlbench.specs.weights import with_weights

    overrides = parse_overrides(inputs, stages, image_size, text_tokens)
    named, refusals = find_models(models, overrides, threads or physical_cores())
    for refusal in refusals:
        print_error(str(refusal))
    specs = with_weights(named, weights or [])
    example = read_example(image, text)
    settings = RunSettings(
        device=device,
        scope=scope.value,
        batch=batch,
        l2=l2.value,
        detector=detector.value if detector else None,
        image_size=parse_size(image_size) if image_size is not None else None,
        text_tokens=text_tokens,
        threads=threads or physical_cores(),
        budget_seconds=budget,
        within=parse_share("--within", within),
        restarts=restarts,
    )
    backends = parse_names("--backend", backend, BACKENDS)
    precisions: list[Any] = parse_names("--precision", precision, list(PrecisionName))
    several = pairs_of(settings, backends, precisions)
    folder = (unfinished_folder(out) if resume else out) or default_folder()
    measured = benchmark(specs, example, several, folder=folder, report_kept=lambda names: print_kept(names, folder))
    _write_tables(measured.stored, folder)
    shown = with_samples(measured.results, folder) if output is Format.json else measured.results
    print_results(shown, output, peaks=read_peaks(folder))
    print_message(f"results: {folder}")
    if measured.interrupted:
        print_message(f"interrupted: {len(measured.results)} of {measured.cells} models are kept")
        raise typer.Exit(130)
    if refusals:
        raise typer.Exit(2)
    if any(result.status != "ok" for result in measured.results):
        raise typer.Exit(1)


def show(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that vlbench run wrote.")],
    output: FormatOption = Format.table,
    figures: FrontierOption = None,
) -> None:
    """Print the results of an earlier run."""
    from vlbench.report.accuracy import joined
    from vlbench.report.frontier import lines
    from vlbench.runner.peaks import read_peaks
    from vlbench.runner.reader import CELLS, read_evaluations, read_unsampled

    evaluations = read_evaluations(folder)
    if evaluations and not (folder / CELLS).is_file():
        print_evaluations(evaluations, [], output)
        draw_frontier([], evaluations, figures)
        return
    results = read_unsampled(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    if output is Format.json:
        print_sampled(folder, evaluations)
    else:
        print_results(joined(results, evaluations), output, lines(results, evaluations), read_peaks(folder))
    draw_frontier(results, evaluations, figures)


def _write_tables(results: list[Result], folder: Path) -> None:
    """Writes table.md and table.csv, of all results in the folder."""
    from vlbench.files.writing import write_text
    from vlbench.report.tables import result_tables, results_csv
    from vlbench.runner.peaks import read_peaks
    from vlbench.tables.writers import to_markdown

    if results:
        peaks = read_peaks(folder)
        write_text(folder / "table.md", to_markdown(result_tables(results, peaks=peaks)))
        write_text(folder / "table.csv", results_csv(results, peaks))

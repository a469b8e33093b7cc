"""`vlbench reproduce`. Exit codes: 0 every counted figure is within its tolerance, 1 some are not, 2 bad input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.ablation import AblationOptions, make_folders, reproduce_ablations
from vlbench.cli.options import (
    BackendOption,
    DeviceOption,
    OutOption,
    PrecisionName,
    PrecisionOption,
    RestartsOption,
    ScopeName,
    ScopeOption,
    SuiteFormat,
    ThreadsOption,
    default_folder,
)
from vlbench.cli.printing import print_as, print_kept
from vlbench.errors import InputError
from vlbench.runner.backends import EAGER
from vlbench.runner.limits import MOST_BUDGET_SECONDS
from vlbench.system.console import print_message

if TYPE_CHECKING:
    from vlbench.suites.collect import SuiteRequest
    from vlbench.suites.reader import LoadedSuite

ALL_CELLS = "params,flops,latency,parts"


def reproduce(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE]...", help="Names, globs or YAML files; by default all suites except ablations."
        ),
    ] = None,
    output: Annotated[SuiteFormat, typer.Option("--format", help="The format to print.")] = SuiteFormat.table,
    cells: Annotated[
        str, typer.Option(metavar="KINDS", help="The kinds of columns: any of params,flops,latency,parts.")
    ] = ALL_CELLS,
    quick: Annotated[
        bool, typer.Option("--quick", help="Time tiny models with few samples: seconds per suite.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw each suite into this folder, as PNG and SVG.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = PrecisionName.fp32,
    backend: BackendOption = EAGER,
    scope: ScopeOption = ScopeName.stages,
    threads: ThreadsOption = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=MOST_BUDGET_SECONDS,
            metavar="SECONDS",
            help="Time to warm up and measure each row; by default as the suite says.",
        ),
    ] = None,
    restarts: RestartsOption = None,
    train_budget: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="How long to train each arm of an ablation: 60000 (samples), 10min, 2000steps or 5e15macs; by default "
            "as the suite says.",
        ),
    ] = None,
    out: OutOption = None,
) -> None:
    """Reproduce the tables of papers: print measured next to reported figures, and check each claim.

    The exit code is 0 if every counted figure is within its tolerance of the paper's, 1 otherwise.

    Ablations take long, as they train models. They run only when named: ablation-alignment, or 'ablation-*'. Of the
    options, they use --train-budget, --quick, --figures, --device, --precision, --threads, --format and --out. Run
    again with the same --out, they continue where they stopped.
    """
    from vlbench.measuring.machine import physical_cores
    from vlbench.runner.plan import RunSettings
    from vlbench.suites.collect import SuiteRequest
    from vlbench.suites.reader import LoadedSuite, parse_categories, resolve_named

    named = resolve_named(suites or [])
    measured = [suite for suite in named if isinstance(suite, LoadedSuite)]
    trained = [suite for suite in named if not isinstance(suite, LoadedSuite)]
    folder = out or default_folder()
    if trained:
        timing = {"--cells": cells != ALL_CELLS, "--budget": budget, "--restarts": restarts}
        timing |= {"--backend": backend != EAGER, "--scope": scope is not ScopeName.stages}
        _check_options(trained[0].suite.name, timing, "trained, not timed")
        options = AblationOptions(
            budget=train_budget,
            quick=quick,
            device=device,
            precision=precision.value,
            threads=threads or physical_cores(),
            output=output,
            figures=figures,
            folder=folder,
        )
        reproduce_ablations(trained, options)
        return
    _check_options(measured[0].suite.name, {"--train-budget": train_budget}, "measured, not trained")
    request = SuiteRequest(
        categories=parse_categories(cells),
        quick=quick,
        settings=RunSettings(
            device=device,
            precision=precision.value,
            backend=backend,
            scope=scope.value,
            threads=threads or (1 if quick else physical_cores()),  # tiny models gain nothing from a second thread
            restarts=restarts,
        ),
        budget_seconds=budget,
        folder=folder,
    )
    make_folders((figures, out))
    _measure(measured, request, output, figures, saved=out is not None)


def _check_options(suite: str, options: Mapping[str, object], kind: str) -> None:
    """Raises InputError where an option is given that does not apply to this kind of suite."""
    for option, value in options.items():
        if value:
            raise InputError(f"{option}: {suite} is {kind}; leave the option out")


def _measure(
    suites: Sequence[LoadedSuite], request: SuiteRequest, output: SuiteFormat, figures: Path | None, *, saved: bool
) -> None:
    """Measures and prints. Raises typer.Exit with the exit code of the command where that is not 0."""
    from vlbench.report.reproduction import reproduction_json, reproduction_tables, save
    from vlbench.suites.collect import reproduce_suites

    reproduction, kept, interrupted = reproduce_suites(suites, request)
    print_kept(kept, request.folder)
    print_as(output.value, lambda: reproduction_tables(reproduction), json=lambda: reproduction_json(reproduction))
    if reproduction.machine or saved:
        save(reproduction, request.folder)
        print_message(f"results: {request.folder}")
    if figures:
        from vlbench.report.suite_figures import draw

        draw(reproduction, figures)
    if interrupted:
        print_message(f"interrupted: what was measured is kept in {request.folder}")
    if interrupted or not reproduction.passed:
        raise typer.Exit(130 if interrupted else 1)

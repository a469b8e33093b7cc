"""`vlbench reproduce`. Exit codes: 0 all counted cells are within their tolerance, 1 some are not, 2 bad input."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.ablation import AblationOptions, make_folders, reproduce_ablations
from vlbench.cli.options import (
    DeviceName,
    DeviceOption,
    OutOption,
    PrecisionName,
    PrecisionOption,
    SuiteFormat,
    ThreadsOption,
    default_folder,
)
from vlbench.cli.printing import print_as, print_kept
from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.suites.reader import LoadedSuite
    from vlbench.suites.reproduce import SuiteRequest

ALL_CELLS = "params,flops,latency,parts"


def reproduce(
    suites: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SUITE]...", help="Names, globs or YAML files; none: all but ablations."),
    ] = None,
    output: Annotated[SuiteFormat, typer.Option("--format", help="How it is printed.")] = SuiteFormat.table,
    cells: Annotated[
        str, typer.Option(metavar="KINDS", help="Which columns: any of params,flops,latency,parts.")
    ] = ALL_CELLS,
    quick: Annotated[bool, typer.Option("--quick", help="Small settings for what is timed: seconds a suite.")] = False,
    figures: Annotated[Path | None, typer.Option(metavar="DIR", help="Draw each suite there, PNG and SVG.")] = None,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    threads: ThreadsOption = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.001, metavar="SECONDS", help="Time for warm-up and timing of each row; by default the suite's."
        ),
    ] = None,
    train_budget: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="Of each training of an ablation: 60000 (samples), 10min, 2000steps or 5e15macs; by default the "
            "suite's.",
        ),
    ] = None,
    out: OutOption = None,
) -> None:
    """Reproduce the papers' tables: measured beside reported, and whether each claim holds here.

    The exit code is 0 where every counted figure is within its tolerance of the paper's, 1 otherwise.

    Ablations are trained, which takes long, and only when named: ablation-alignment, or 'ablation-*'. They heed
    --train-budget, --quick, --figures, --device, --precision, --threads, --format and --out, and go on where they were
    with the same --out.
    """
    from vlbench.measure.machine import physical_cores
    from vlbench.runner.plan import RunSettings
    from vlbench.suites.reader import LoadedSuite, parse_categories, resolve_named
    from vlbench.suites.reproduce import SuiteRequest

    named = resolve_named(suites or [])
    wanted = [one for one in named if isinstance(one, LoadedSuite)]
    trained = [one for one in named if not isinstance(one, LoadedSuite)]
    folder = out or default_folder()
    if trained:
        _check_options(trained[0].suite.name, {"--cells": cells != ALL_CELLS, "--budget": budget}, "trained, not timed")
        options = AblationOptions(
            budget=train_budget,
            quick=quick,
            device=device.value,
            precision=precision.value,
            threads=threads or physical_cores(),
            output=output,
            figures=figures,
            folder=folder,
        )
        reproduce_ablations(trained, options)
        return
    _check_options(wanted[0].suite.name, {"--train-budget": train_budget}, "measured, not trained")
    request = SuiteRequest(
        categories=parse_categories(cells),
        quick=quick,
        settings=RunSettings(
            device=device.value,
            precision=precision.value,
            threads=threads or (1 if quick else physical_cores()),  # small work is lost on two threads
        ),
        budget_seconds=budget,
        folder=folder,
    )
    make_folders((figures, out))
    _measure(wanted, request, output, figures, saved=out is not None)


def _check_options(suite: str, given: Mapping[str, object], said: str) -> None:
    """Raises InputError where an option means nothing for this sort of suite."""
    for option, value in given.items():
        if value:
            raise InputError(f"{option}: {suite} is {said}; leave it out")


def _measure(
    suites: Sequence[LoadedSuite], request: SuiteRequest, output: SuiteFormat, figures: Path | None, *, saved: bool
) -> None:
    """Raises typer.Exit with the command's exit code where that is not 0."""
    from vlbench.report.reproduction import reproduction_json, reproduction_tables, save
    from vlbench.suites.reproduce import reproduce as reproduced

    found, kept, interrupted = reproduced(suites, request)
    print_kept(kept, request.folder)
    print_as(output.value, lambda: reproduction_tables(found), json=lambda: reproduction_json(found))
    if found.machine or saved:
        save(found, request.folder)
        print(f"results: {request.folder}", file=sys.stderr)
    if figures:
        from vlbench.report.figures import draw

        draw(found, figures)
    if interrupted:
        print(f"interrupted: what was measured is kept in {request.folder}", file=sys.stderr)
    if interrupted or not found.passed:
        raise typer.Exit(130 if interrupted else 1)

"""`vlbench reproduce`. Exit codes: 0 all counted cells are within their tolerance, 1 some are not, 2 bad input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vlbench.commands.printing import print_wide, tell_kept
from vlbench.options import (
    DeviceName,
    DeviceOption,
    OutOption,
    PrecisionName,
    PrecisionOption,
    SuiteFormat,
    ThreadsOption,
    default_folder,
)


def reproduce(
    suites: Annotated[
        list[str] | None, typer.Argument(metavar="[SUITE]...", help="Names, globs or YAML files; none: all suites.")
    ] = None,
    output: Annotated[SuiteFormat, typer.Option("--format", help="How it is printed.")] = SuiteFormat.table,
    cells: Annotated[
        str, typer.Option(metavar="KINDS", help="Which columns: any of params,flops,latency,parts.")
    ] = "params,flops,latency,parts",
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
    out: OutOption = None,
) -> None:
    """Reproduce the papers' tables: measured beside reported, and whether each claim holds here.

    The exit code is 0 where every counted figure is within its tolerance of the paper's, 1 otherwise.
    """
    from vlbench.measure.machine import physical_cores
    from vlbench.report.reproduction import WRITERS, render, save
    from vlbench.reproduce import run as reproducing
    from vlbench.running.expansion import Settings
    from vlbench.suites.reader import parse_categories, resolve_suites

    request = reproducing.Request(
        categories=parse_categories(cells),
        quick=quick,
        settings=Settings(
            device=device.value,
            precision=precision.value,
            threads=threads or (1 if quick else physical_cores()),  # small work is lost on two threads
        ),
        budget_seconds=budget,
        folder=out or default_folder(),
    )
    wanted = resolve_suites(suites or [])
    for folder in filter(None, (figures, out)):
        folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be written ends it before anything is measured
    found, kept, interrupted = reproducing.reproduce(wanted, request)
    tell_kept(kept, request.folder)
    if output is SuiteFormat.table:
        print_wide(lambda width: render(found, width))
    else:
        print(WRITERS[output.value](found), end="")
    if found.machine or out:
        save(found, request.folder)
        print(f"results: {request.folder}", file=sys.stderr)
    if figures:
        from vlbench.report.figures import draw

        draw(found, figures)
    if interrupted:
        print(f"interrupted: what was measured is kept in {request.folder}", file=sys.stderr)
    if interrupted or not found.passed:
        raise typer.Exit(130 if interrupted else 1)

"""`vlbench doctor`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.options import ThreadsOption


class DoctorFormat(StrEnum):
    table = "table"
    json = "json"


def doctor(
    threads: ThreadsOption = None,
    output: Annotated[
        DoctorFormat, typer.Option("--format", help="How the findings are printed.")
    ] = DoctorFormat.table,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Add the peaks that these results, of this machine, do not hold yet."),
    ] = None,
) -> None:
    """Say whether this machine is fit to measure on.

    Takes about 15 seconds; each finding says what to change (docs/doctor.md).

    The exit code is 0 where it is fit, 1 where it is not.
    """
    from rich.console import Console

    from vlbench.doctor.diagnose import diagnose
    from vlbench.doctor.findings import render
    from vlbench.measure.machine import physical_cores

    if out:
        from vlbench.runner.benchmark import add_missing_peaks

        add_missing_peaks(out)
    found = diagnose(threads or physical_cores())
    if output is DoctorFormat.json:
        print(found.model_dump_json(indent=2))
    else:
        console = Console()
        console.width = console.width if console.is_terminal else 160
        console.print(render(found))
    if not found.fit:
        raise typer.Exit(1)

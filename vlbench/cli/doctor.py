"""`vlbench doctor`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.options import ThreadsOption
from vlbench.cli.printing import print_as


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
        typer.Option(metavar="DIR", help="Add this machine's peak rates to results that were measured on it."),
    ] = None,
) -> None:
    """Check whether this machine is fit to measure on.

    Takes about 15 seconds, and ten more for a GPU. Each finding says what to change (docs/doctor.md). The exit code is
    0 if the machine is fit, 1 otherwise.
    """
    from vlbench.doctor.diagnose import diagnose
    from vlbench.doctor.findings import diagnosis_table
    from vlbench.measuring.machine import physical_cores
    from vlbench.tables.writers import model_to_json

    if out:
        from vlbench.runner.benchmark import add_missing_peaks

        add_missing_peaks(out)
    diagnosis = diagnose(threads or physical_cores())
    print_as(output.value, lambda: [diagnosis_table(diagnosis)], json=lambda: model_to_json(diagnosis))
    if not diagnosis.fit:
        raise typer.Exit(1)

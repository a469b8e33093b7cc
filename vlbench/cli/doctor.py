"""`vlbench doctor`."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.options import ThreadsOption
from vlbench.errors import InputError


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
        _add_peaks(out)
    found = diagnose(threads or physical_cores())
    if output is DoctorFormat.json:
        print(found.model_dump_json(indent=2))
    else:
        console = Console()
        console.width = console.width if console.is_terminal else 160
        console.print(render(found))
    if not found.fit:
        raise typer.Exit(1)


def _add_peaks(folder: Path) -> None:
    """Raises InputError where nothing in the folder was measured on this machine as it is now."""
    from vlbench.runner.peaks import keep_peaks, read_peaks, settings_without_peaks
    from vlbench.runner.records import Result
    from vlbench.runner.store import Store, read_results
    from vlbench.runner.worker_client import Worker, probe_machine

    results, held = read_results(folder), read_peaks(folder)
    machine = probe_machine(1)
    if not settings_without_peaks(results, [], machine):
        raise InputError(
            f"--out {folder}: nothing here was measured on this machine with its present software; name results that "
            "were, or measure anew"
        )
    with closing(Store(folder, Result)):  # nobody else writes there meanwhile
        for setting in settings_without_peaks(results, held, machine):
            with Worker(setting.threads) as worker:
                keep_peaks(setting, folder, worker)

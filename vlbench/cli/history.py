"""`vlbench history`: latency over many runs, with change points."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import MeasuredOn, MeasuredOnOption
from vlbench.cli.printing import print_as
from vlbench.errors import InputError
from vlbench.system.console import print_error, print_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vlbench.regression.history.runs import HistoryRun


class HistoryFormat(StrEnum):
    table = "table"
    json = "json"
    markdown = "markdown"


def history(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A folder with results in or below it, or a .duckdb file.")
    ],
    model: Annotated[str | None, typer.Option(metavar="GLOB", help="Only these models; several with commas.")] = None,
    device: MeasuredOnOption = None,
    threshold: Annotated[
        str, typer.Option(metavar="SHARE", help="The smallest change that is reported, such as 5% or 0.05.")
    ] = "3%",
    output: Annotated[HistoryFormat, typer.Option("--format", help="Format of the output.")] = HistoryFormat.table,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw a figure: a .png or .svg file.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Add the results to this .duckdb file, and show everything in it."),
    ] = None,
) -> None:
    """Show how each model's latency changed over many runs, and where it changed.

    Runs of one model with the same settings on the same machine are one series. Contended runs are shown, but count for
    no change point.
    """
    from vlbench.regression.history.reading import read_runs
    from vlbench.regression.history.series import build_series, parse_threshold, select
    from vlbench.regression.history.tables import history_json, history_tables

    least = parse_threshold(threshold)
    if figure:
        from vlbench.regression.history.figures import check_figure, draw

        check_figure(figure)
    reading = read_runs(path, store=store)
    for warning in reading.warnings:
        print_error(str(warning))
    if store:
        print_message(f"{store}: {reading.added} results added, {len(reading.runs)} in all")
    runs = select(reading.runs, models=model, device=device.value if device else None)
    if not runs:
        raise InputError(_nothing(reading.runs, model, device))
    series = build_series(runs, threshold=least)
    print_as(output.value, lambda: history_tables(series, least), json=lambda: history_json(series, least))
    if figure:
        left_out = draw(series, figure)
        if left_out:
            print_message(f"{figure}: without {left_out} series that have fewer than two latencies")


def _nothing(runs: Sequence[HistoryRun], model: str | None, device: MeasuredOn | None) -> str:
    models = ", ".join(sorted({run.model for run in runs}))
    options = [f"--model {model}" if model else "", f"--device {device.value}" if device else ""]
    devices = ", ".join(sorted({run.settings.device for run in runs}))
    return f"{' '.join(filter(None, options))}: no such results; there are {models} on {devices}"

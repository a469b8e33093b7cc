"""`vlbench export`: results for a paper, a pull request or pandas; `vlbench export shapes`: the generated world."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.printing import print_as
from vlbench.errors import InputError
from vlbench.system.console import print_message


class ExportFormat(StrEnum):
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    parquet = "parquet"


class TableName(StrEnum):
    summary = "summary"
    stages = "stages"
    samples = "samples"
    accuracy = "accuracy"
    reported = "reported"
    claims = "claims"


class SplitName(StrEnum):
    test = "test"
    val = "val"
    train = "train"


BY_SUFFIX = {".tex": ExportFormat.latex, ".csv": ExportFormat.csv, ".parquet": ExportFormat.parquet}


def export(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS", help="Results folders; a folder that holds none stands for those below it."),
    ],
    output_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="By default what FILE ends in: .tex, .csv or .parquet; otherwise markdown."),
    ] = None,
    table: Annotated[
        TableName | None, typer.Option(help="Default: summary; for Parquet: samples, one row each.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of printing.")
    ] = None,
) -> None:
    """Write results as a table: GitHub Markdown, LaTeX (booktabs), CSV or Parquet.

    Markdown and LaTeX have one row per measurement with its intervals, the stages, and notes. CSV and Parquet are in
    plain units, with the columns of `vlbench.read`. `vlbench export shapes` writes the generated world.
    """
    from vlbench.report import export
    from vlbench.report.frames import read
    from vlbench.tables.writers import csv_pieces

    form = output_format or BY_SUFFIX.get(output.suffix if output else "", ExportFormat.markdown)
    if form is ExportFormat.parquet and output is None:
        raise InputError("--format parquet: is no text to print; add -o FILE")
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: no folder {output.parent}; make it first")
    if output is not None and output.is_dir():
        raise InputError(f"-o {output}: is a folder; name a file in it")
    results = read(*folders)
    if form is ExportFormat.parquet:
        assert output
        rows = export.write_parquet(results, output, table.value if table else "samples")
        print_message(f"written: {output}, {rows:,} rows")
        return
    name = table.value if table else None
    print_as(
        form.value,
        lambda: export.export_tables(results, name),
        output,
        csv=lambda: csv_pieces(export.plain_frame(results, name or "summary")),
    )
    if output:
        print_message(f"written: {output}")


def export_shapes(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    split: Annotated[
        list[SplitName] | None, typer.Option(help="Default: all splits; repeatable.", show_default=False)
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(min=2, max=10**6, help="Scenes of each split; by default as many as the task has.")
    ] = None,
    side: Annotated[int, typer.Option(min=32, max=4096, help="Side of the images, in pixels.")] = 128,
    seed: Annotated[
        int, typer.Option(help="0: the scenes of the tasks shapes, shapes-pairs and shapes-retrieval.")
    ] = 0,
) -> None:
    """Write the generated world as PNG and official JSON: questions, statements, captions and boxes.

    Questions are in VQAv2's form, statements in NLVR2's, captions in Karpathy's and boxes in COCO's; the tasks vqav2,
    nlvr2 and coco read the folder. (A results folder that is called shapes is exported as ./shapes.)
    """
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from vlbench.runner.progress import progress_bars
    from vlbench.tasks.shapes.export import Export
    from vlbench.tasks.shapes.export import export as write
    from vlbench.tasks.shapes.items import SCENES

    splits = sorted({name.value for name in split or SplitName})
    request = Export(scenes={name: scenes or SCENES[name] for name in splits}, seed=seed, side=side)
    columns = (MofNCompleteColumn(), "left", TimeRemainingColumn())
    with progress_bars(*columns, shown=sys.stderr.isatty(), redraws=True, transient=True) as bar:
        task = bar.add_task("scenes", total=sum(request.scenes.values()))
        written = write(request, out, on_progress=lambda count: bar.advance(task, count))
    print_message(f"{'written' if written else 'kept, exported alike before'}: {out}")

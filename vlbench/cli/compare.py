"""`vlbench compare BASE HEAD`. Exit codes: 0 no regression, 1 regression, 3 cannot tell, 2 bad input."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from vlbench.regression.compare.outcomes import Comparison
    from vlbench.runner.records import Result


WIDE = 2_000  # columns: no line that goes to a file is folded


class ComparisonFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"
    junit = "junit"


ThresholdOption = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="The slowdown that must not slip through, 5% or 0.05; by default 5%."),
]
ThresholdsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="YAML: default: 5%, and models: {GLOB: 10%}.")
]
ComparisonFormatOption = Annotated[ComparisonFormat, typer.Option("--format", help="How the comparison is printed.")]
OutputOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead.")]
MarkdownOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there as Markdown, too.")]
JunitOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there as JUnit XML, too.")]
PictureOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it there, .png or .svg.")]


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The results folder that may be slower.")],
    threshold: ThresholdOption = None,
    thresholds: ThresholdsOption = None,
    output_format: ComparisonFormatOption = ComparisonFormat.table,
    output: OutputOption = None,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    picture: PictureOption = None,
    force: Annotated[bool, typer.Option("--force", help="Compare other machines and settings all the same.")] = False,
) -> None:
    """Say of each cell whether it became faster or slower, stayed the same, or cannot be told.

    The exit code is 0 where nothing regressed, 1 where something did, 3 where that cannot be told.
    """
    from vlbench.regression.compare import comparison as comparing
    from vlbench.regression.compare.outcomes import check_globs, thresholds_from

    allowed = thresholds_from(threshold, thresholds)
    check_files(output=output, markdown=markdown, junit=junit, picture=picture)
    before, after = _read(base), _read(head)
    check_globs(allowed, {result.model for result in [*before, *after]}, str(thresholds))
    found = comparing.compare(before, after, names=(str(base), str(head)), thresholds=allowed, force=force)
    write_comparison(found, output_format, output, picture)
    write_files(found, markdown=markdown, junit=junit, picture=picture)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _read(folder: Path) -> list[Result]:
    from vlbench.runner.store import read_results

    results = read_results(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    return results


def check_files(*, picture: Path | None, **others: Path | None) -> None:
    """Raises InputError, before anything is measured, where a file could not be written for want of its folder."""
    if picture:
        from vlbench.regression.compare.picture import check_picture

        check_picture(picture)
    for option, path in others.items():
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"--{option} {path}: no folder {path.parent}; make it first")


def write_comparison(
    comparison: Comparison, output_format: ComparisonFormat, output: Path | None, picture: Path | None
) -> None:
    """Prints it, or writes it to `output`."""
    if output_format is ComparisonFormat.table:
        from vlbench.regression.compare.tables import render

        print_wide(lambda width: render(comparison, width), output)
    elif output:
        output.write_text(_written(comparison, output_format, picture), encoding="utf-8")
    else:
        sys.stdout.write(_written(comparison, output_format, picture))


def write_files(comparison: Comparison, *, markdown: Path | None, junit: Path | None, picture: Path | None) -> None:
    """Writes it in the other forms that were asked for."""
    for path, form in ((markdown, ComparisonFormat.markdown), (junit, ComparisonFormat.junit)):
        if path:
            path.write_text(_written(comparison, form, picture), encoding="utf-8")
    if picture:
        from vlbench.regression.compare.picture import draw

        draw(comparison, picture)


def _written(comparison: Comparison, form: ComparisonFormat, picture: Path | None) -> str:
    if form is ComparisonFormat.json:
        return comparison.to_json()
    if form is ComparisonFormat.junit:
        from vlbench.regression.compare.junit import junit

        return junit(comparison)
    from vlbench.regression.compare.tables import markdown

    return markdown(comparison, str(picture) if picture else None)


def print_wide(draw: Callable[[int | None], RenderableType], output: Path | None) -> None:
    """Prints what `draw` makes for the terminal's width, or for any where the output is none, or is a file."""
    from rich.console import Console

    if output:
        with output.open("w", encoding="utf-8") as file:
            Console(file=file, width=WIDE, color_system=None).print(draw(None))  # whatever FORCE_COLOR says
        return
    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, WIDE) if width is None else width
    console.print(draw(width))

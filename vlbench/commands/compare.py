"""`vlbench compare BASE HEAD`. Exit codes: 0 no regression, 1 regression, 3 cannot tell, 2 bad input."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.compare.outcomes import Comparison
    from vlbench.running.cells import Result


WIDE = 2_000  # columns: no line that goes to a file is folded


class ComparisonFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"
    junit = "junit"


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The results folder to compare with.")],
    head: Annotated[Path, typer.Argument(metavar="HEAD", help="The results folder that may be slower.")],
    threshold: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="The slowdown that must not slip through, 5% or 0.05; by default 5%."),
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML: default: 5%, and models: {GLOB: 10%}.")
    ] = None,
    output_format: Annotated[
        ComparisonFormat, typer.Option("--format", help="How the comparison is printed.")
    ] = ComparisonFormat.table,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there instead.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it there, .png or .svg.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare other machines and settings all the same.")] = False,
) -> None:
    """Say of each cell whether it became faster or slower, stayed the same, or cannot be told.

    The exit code is 0 where nothing regressed, 1 where something did, 3 where that cannot be told.
    """
    from vlbench.compare import comparison as comparing
    from vlbench.compare.thresholds import check_globs, thresholds_from

    allowed = thresholds_from(threshold, thresholds)
    if picture:
        from vlbench.compare.picture import check_picture

        check_picture(picture)
    before, after = _read(base), _read(head)
    check_globs(allowed, {result.model for result in [*before, *after]}, str(thresholds))
    found = comparing.compare(before, after, names=(str(base), str(head)), thresholds=allowed, force=force)
    write_comparison(found, output_format, output, picture)
    if picture:
        from vlbench.compare.picture import draw

        draw(found, picture)
    if found.exit_code:
        raise typer.Exit(found.exit_code)


def _read(folder: Path) -> list[Result]:
    from vlbench.running.store import read_results

    results = read_results(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    return results


def write_comparison(
    comparison: Comparison, output_format: ComparisonFormat, output: Path | None, picture: Path | None
) -> None:
    if output_format is ComparisonFormat.table:
        _write_table(comparison, output)
        return
    if output_format is ComparisonFormat.json:
        text = comparison.to_json()
    elif output_format is ComparisonFormat.junit:
        from vlbench.compare.junit import junit

        text = junit(comparison)
    else:
        from vlbench.compare.tables import markdown

        text = markdown(comparison, str(picture) if picture else None)
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def _write_table(comparison: Comparison, output: Path | None) -> None:
    """For the terminal's width, or for any where the output is none."""
    from rich.console import Console

    from vlbench.compare.tables import render

    if output:
        with output.open("w", encoding="utf-8") as file:
            Console(file=file, width=WIDE).print(render(comparison))
        return
    console = Console()
    width = console.width if console.is_terminal else None
    console.width = max(console.width, WIDE) if width is None else width
    console.print(render(comparison, width))

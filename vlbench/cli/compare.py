"""`vlbench compare BASE HEAD`. Exit codes: 0 no regression, 1 regression, 2 bad input, 3 cannot tell."""

from __future__ import annotations

import gc
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.printing import print_as
from vlbench.errors import InputError
from vlbench.files.writing import write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from vlbench.regression.compare.outcomes import Comparison
    from vlbench.runner.records import Result


class ComparisonFormat(StrEnum):
    table = "table"
    markdown = "markdown"
    json = "json"
    junit = "junit"


ThresholdOption = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="The slowdown that must be caught, 5% or 0.05; by default 5%."),
]
ThresholdsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A YAML file of thresholds: default: 5%, and models: {GLOB: 10%}.")
]
ComparisonFormatOption = Annotated[ComparisonFormat, typer.Option("--format", help="How the comparison is printed.")]
OutputOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file instead.")]
MarkdownOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write Markdown to this file.")]
JunitOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Also write JUnit XML to this file.")]
PictureOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Also draw a picture into this file, .png or .svg.")
]


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
    force: Annotated[bool, typer.Option("--force", help="Compare although machines or settings differ.")] = False,
) -> None:
    """Compare each measurement of two results folders: faster, slower, same or unknown.

    The exit code is 0 if nothing regressed, 1 if something did, and 3 if that is unknown.
    """
    from vlbench.regression.compare.comparison import compare as compare_results
    from vlbench.regression.compare.outcomes import check_globs, thresholds_from
    from vlbench.tables.markup import visible

    allowed = thresholds_from(threshold, thresholds)
    check_files(output=output, markdown=markdown, junit=junit, picture=picture)
    before, after = _read(base), _read(head)
    gc.freeze()  # the collector need not visit thousands of results again and again
    check_globs(allowed, {result.model for result in [*before, *after]}, str(thresholds))
    comparison = compare_results(
        before, after, names=(visible(str(base)), visible(str(head))), thresholds=allowed, force=force
    )
    write_comparison(comparison, output_format, output, picture)
    write_files(comparison, markdown=markdown, junit=junit, picture=picture)
    if comparison.exit_code:
        raise typer.Exit(comparison.exit_code)


def _read(folder: Path) -> list[Result]:
    from vlbench.runner.reader import read_unsampled

    results = read_unsampled(folder)
    if not results:
        raise InputError(f"{folder}: holds no results yet")
    return results


def check_files(*, picture: Path | None, **others: Path | None) -> None:
    """Raises InputError, before anything is measured, where the folder of a file does not exist."""
    if picture:
        from vlbench.regression.compare.picture import check_picture

        check_picture(picture)
    for option, path in others.items():
        if path and not path.absolute().parent.is_dir():
            raise InputError(f"--{option} {path}: no folder {path.parent}; make it first")


def write_comparison(
    comparison: Comparison, output_format: ComparisonFormat, output: Path | None, picture: Path | None
) -> None:
    """Prints the comparison, or writes it to `output`."""
    from vlbench.regression.compare.tables import comparison_tables

    print_as(output_format.value, lambda: comparison_tables(comparison), output, **_writers(comparison, picture))


def write_files(comparison: Comparison, *, markdown: Path | None, junit: Path | None, picture: Path | None) -> None:
    """Writes the comparison in further forms, to each file that is given."""
    for path, form in ((markdown, "markdown"), (junit, "junit")):
        if path:
            write_text(path, _writers(comparison, picture)[form]())
    if picture:
        from vlbench.regression.compare.picture import draw

        draw(comparison, picture)


def _writers(comparison: Comparison, picture: Path | None) -> dict[str, Callable[[], str]]:
    from vlbench.regression.compare.tables import comparison_markdown

    def as_junit() -> str:
        from vlbench.regression.compare.junit import junit

        return junit(comparison)

    return {
        "json": comparison.to_json,
        "junit": as_junit,
        "markdown": lambda: comparison_markdown(comparison, str(picture) if picture else None),
    }
